"""The disk with the metrics, the monitor's spool or a training's checkpoint is full or read-only."""

import json
import os
import subprocess
import sys

import pytest
import torch

from ml.training import checkpoint
from tests import servers
from tests.ml.conftest import COLOURS, draw
from tests.services.inference.serving import COMMAND, service

pytestmark = pytest.mark.faults

# Without root, a user namespace in which the user is root.
UNSHARE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--user", "--map-root-user"]
MOUNT = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'
READ_ONLY = 'mount -o remount,ro "$0"'
BREAK = {
    "full": ('head -c 1000000 /dev/zero > "$0/filler" 2> /dev/null', "No space left on device"),
    "read-only": (READ_ONLY, "Read-only file system"),
}


def run(folder, size, script, *arguments, **environment):
    """Run a shell script for which ``folder`` ($0) is a tmpfs of that size, such as ``512k``."""
    folder.mkdir(exist_ok=True)
    command = [*UNSHARE, "sh", "-c", MOUNT, "sh", size, str(folder), "sh", "-c", script, str(folder), *arguments]
    environment = servers.environment() | {"PYTHONPATH": str(servers.ROOT), "OMP_NUM_THREADS": "1"} | environment
    return subprocess.run(command, cwd=servers.ROOT, env=environment, capture_output=True, text=True, timeout=200)


def test_read_only_metrics_folder_ends_the_start_with_one_sentence(bundle, tmp_path):
    folder = tmp_path / "metrics"
    settings = {"MODEL_DIR": str(bundle), "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    found = run(folder, "1m", f'{READ_ONLY}; "$@"', sys.executable, *COMMAND, **settings)
    assert found.returncode == 1
    assert found.stderr.startswith("PROMETHEUS_MULTIPROC_DIR is ") and found.stderr.count("\n") == 1
    assert "Read-only file system" in found.stderr


@pytest.mark.parametrize("way", BREAK)
def test_result_that_cannot_be_kept_is_sent_or_printed(bundle, tmp_path, mlflow_address, way):
    breaks, words = BREAK[way]
    script = f'{breaks}; "$1" -m services.monitor; code=$?; ls "$0" >&2; exit $code'
    with service(tmp_path, MODEL_DIR=bundle, WORKERS=1) as running:
        for address, code in ((mlflow_address, 0), (f"http://127.0.0.1:{servers.free_port()}", 3)):
            settings = {"PREDICT_URL": running.address, "MLFLOW_TRACKING_URI": address}
            settings |= {"SPOOL_DIR": str(tmp_path / "spool"), "MLFLOW_EXPERIMENT_NAME": f"disk-{way}"}
            found = run(tmp_path / "spool", "16k", script, sys.executable, **settings)
            assert found.returncode == code, found.stdout + found.stderr
            result = json.loads(found.stdout)
            assert result["metrics"]["post_deploy_predict_success"] == 1
            assert f"SPOOL_DIR={tmp_path / 'spool'} cannot be written to ({words})" in " ".join(result["delivery"])
            assert set(found.stderr.split()) <= {"filler"}, "part of a file stays"
            assert ("lost" in " ".join(result["delivery"])) == (code == 3)


def test_training_with_a_full_disk_keeps_the_earlier_checkpoint(tmp_path):
    data = draw(tmp_path / "colours", COLOURS, 70)
    # The disk has room for one checkpoint of this network, but not for the next beside it.
    script = f'"$@"; code=$?; cp "$0/run/checkpoint.pt" {tmp_path}/kept.pt; ls "$0/run" >&2; exit $code'
    train = [sys.executable, "-m", "ml.train", "--data", str(data), "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    train += ["--architecture", "test_resnet", "--weights", "scratch", "--size", "32"]
    train += ["--epochs", "3", "--batch", "16", "--device", "cpu"]
    train += ["--cache", str(tmp_path / "cache"), "--champion", str(tmp_path / "champion")]
    found = run(tmp_path / "disk", "11m", script, *train, "--out", str(tmp_path / "disk" / "run"))
    assert found.returncode == 2, found.stderr
    assert "Traceback" not in found.stderr
    (line,) = [line for line in found.stderr.splitlines() if "No space left on device" in line]
    assert "checkpoint.pt" in line and "--resume" in line
    assert "checkpoint.pt.tmp" not in found.stderr.split()
    _, state = checkpoint.read(tmp_path / "kept.pt")
    assert state["epoch"] == 1 and all(torch.isfinite(weight).all() for weight in state["best"].values())

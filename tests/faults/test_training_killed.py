"""A training is killed at several moments, and resumed: the result is the same as without."""

import json
import signal
import subprocess
import sys

import pytest
from mlflow import MlflowClient

from tests import servers
from tests.ml.conftest import COLOURS, draw

pytestmark = pytest.mark.faults

EPOCHS = 3
SETTINGS = ["--architecture", "test_resnet", "--weights", "scratch", "--size", "32"]
SETTINGS += ["--epochs", str(EPOCHS), "--batch", "16", "--device", "cpu", "--cache", "cache"]


@pytest.fixture
def train(tmp_path):
    """Run a training in a process of its own, and return how it ended and what it printed."""
    environment = servers.environment() | {"PYTHONPATH": str(servers.ROOT), "OMP_NUM_THREADS": "1"}
    data = ["--data", str(draw(tmp_path / "colours", COLOURS, 70)), "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"]

    def train(program, *options):
        command = [sys.executable, "-m", *program, *data, *SETTINGS, *options]
        process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
        return process.returncode, process.stdout + process.stderr

    return train


# MLflow's own use of its store.
@pytest.mark.filterwarnings("ignore:The ``noload``:DeprecationWarning")
def test_training_that_is_killed_again_and_again_gives_the_same_model(train, tmp_path, monkeypatch):
    code, printed = train(["ml.train"], "--champion", "champion-1", "--out", "whole")
    assert code == 0, printed

    options = ["--champion", "champion-2", "--out", "cut"]
    checkpoint = tmp_path / "cut" / "checkpoint.pt"
    unfinished = checkpoint.with_name("checkpoint.pt.tmp")
    for moment in ("in the next epoch", "written, not yet reported", "while writing"):
        code, printed = train(["tests.faults.dying_training", moment], *options)
        assert code == -signal.SIGKILL, printed
        assert checkpoint.exists() and unfinished.exists() == (moment == "while writing")
        options = ["--champion", "champion-2", "--resume", "cut"]
    code, printed = train(["ml.train"], *options)
    assert code == 0, printed

    models = [(tmp_path / run / "bundle" / "model.onnx").read_bytes() for run in ("whole", "cut")]
    assert models[0] == models[1]
    manifests = [json.loads((tmp_path / run / "bundle" / "manifest.json").read_text()) for run in ("whole", "cut")]
    for name in ("metrics", "reference", "uncertainty", "model_sha256"):
        assert manifests[0][name] == manifests[1][name]
    assert manifests[1]["training"]["epochs"] == EPOCHS
    assert not unfinished.exists()

    store = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    client = MlflowClient(store)
    run = client.get_run(manifests[1]["training"]["run_id"])
    assert run.info.status == "FINISHED" and len(run.outputs.model_outputs) == 1
    for name in ("train/loss", "validation/accuracy"):
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, name)]
        assert steps == list(range(1, EPOCHS + 1)), "an epoch is missing or twice"

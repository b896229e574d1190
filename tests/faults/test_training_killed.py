"""A training is killed at several moments, and resumed: the result is the same as without."""

import json
import random
import subprocess
import sys
import time

import pytest
from mlflow import MlflowClient

from tests import servers
from tests.ml.conftest import COLOURS, draw

pytestmark = pytest.mark.faults

EPOCHS = 3
SETTINGS = ["--architecture", "test_resnet", "--weights", "scratch", "--size", "32"]
SETTINGS += ["--epochs", str(EPOCHS), "--batch", "16", "--device", "cpu", "--cache", "cache"]


@pytest.fixture
def start(tmp_path):
    """Start a training in a process of its own, which ends with the test."""
    processes = []
    environment = servers.environment() | {"PYTHONPATH": str(servers.ROOT), "OMP_NUM_THREADS": "1"}
    train = [sys.executable, "-m", "ml.train", "--data", str(draw(tmp_path / "colours", COLOURS, 70)), *SETTINGS]
    train += ["--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"]

    def start(*options):
        with (tmp_path / f"log-{len(processes)}").open("wb") as log:
            process = subprocess.Popen(
                [*train, *options], cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def kill_when(process, condition, pause=0.0):
    while not condition():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.0005)
    time.sleep(pause)
    assert process.poll() is None, "it ended before it could be killed"
    process.kill()
    process.wait()


# MLflow's own use of its store.
@pytest.mark.filterwarnings("ignore:The ``noload``:DeprecationWarning")
def test_training_that_is_killed_again_and_again_gives_the_same_model(start, tmp_path, monkeypatch):
    whole = start("--champion", "champion-1", "--out", "whole")
    assert whole.wait(200) == 0, (tmp_path / "log-0").read_text()

    checkpoint = tmp_path / "cut" / "checkpoint.pt"
    writing = checkpoint.with_name("checkpoint.pt.tmp")
    seed = random.randrange(10**6)

    def stamp():
        return checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0

    options = ["--champion", "champion-2", "--out", "cut"]
    for moment in ("in an epoch", "written, not yet reported", "while writing"):
        process, before = start(*options), stamp()

        def written(before=before):
            return stamp() != before

        if moment == "in an epoch":
            kill_when(process, written, random.Random(seed).uniform(0, 0.5))
        else:
            kill_when(process, writing.exists if moment == "while writing" else written)
        assert checkpoint.exists()
        options = ["--champion", "champion-2", "--resume", "cut"]
    last = start(*options)
    assert last.wait(200) == 0, (tmp_path / "log-4").read_text()

    models = [(tmp_path / run / "bundle" / "model.onnx").read_bytes() for run in ("whole", "cut")]
    assert models[0] == models[1], f"seed {seed}"
    manifests = [json.loads((tmp_path / run / "bundle" / "manifest.json").read_text()) for run in ("whole", "cut")]
    for name in ("metrics", "reference", "uncertainty", "model_sha256"):
        assert manifests[0][name] == manifests[1][name]
    assert manifests[1]["training"]["epochs"] == EPOCHS
    assert not writing.exists()

    store = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    client = MlflowClient(store)
    run = client.get_run(manifests[1]["training"]["run_id"])
    assert run.info.status == "FINISHED" and len(run.outputs.model_outputs) == 1
    for name in ("train/loss", "validation/accuracy"):
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, name)]
        assert steps == list(range(1, EPOCHS + 1)), "an epoch is missing or twice"

"""Training is killed, over and over, at moments that it did not choose; what it comes to is what it would have been."""

import json
import os
import random
import subprocess
import sys
import time

import pytest
from mlflow import MlflowClient

from tests import servers
from tests.ml.conftest import COLOURS, draw

pytestmark = pytest.mark.faults

EPOCHS = 4
SETTINGS = ["--architecture", "resnet18_slim", "--size", "32", "--epochs", str(EPOCHS), "--batch", "16"]
WHERE = ["--device", "cpu", "--cache", "cache", "--champion"]


def command(data, store, champion, *more):
    start = [sys.executable, "-m", "ml.train", "--data", str(data), "--tracking-uri", store, *SETTINGS]
    return [*start, *WHERE, champion, *more]


@pytest.fixture
def start(tmp_path):
    """Starts a training in a process of its own, which ends with the test."""
    processes = []
    environment = servers.environment() | {"PYTHONPATH": str(servers.ROOT), "OMP_NUM_THREADS": "1"}

    def start(*arguments):
        log = (tmp_path / f"log-{len(processes)}").open("wb")
        processes.append(
            subprocess.Popen(arguments, cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT)
        )
        log.close()
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def changed(path, since):
    return path.exists() and path.stat().st_mtime_ns != since


def kill_when(process, condition):
    while not condition():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.0005)
    process.kill()
    process.wait()


# MLflow's own use of its store.
@pytest.mark.filterwarnings("ignore:The ``noload``:DeprecationWarning")
def test_a_training_that_is_killed_again_and_again_gives_the_same_model(start, tmp_path):
    data = draw(tmp_path / "colours", COLOURS, 70)
    store = f"sqlite:///{tmp_path}/mlflow.db"
    whole = start(*command(data, store, "champion-1", "--out", "whole"))
    assert whole.wait(200) == 0, (tmp_path / "log-0").read_text()

    checkpoint = tmp_path / "cut" / "checkpoint.pt"
    writing = checkpoint.with_name("checkpoint.pt.tmp")
    arguments = command(data, store, "champion-2", "--out", "cut")
    resumed = command(data, store, "champion-2", "--resume", "cut")
    seed = random.randrange(10**6)
    pause = random.Random(seed).uniform(0, 0.5)

    def stamp():
        return checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0

    for moment in ("in an epoch", "written, not yet reported", "while writing"):
        process, before = start(*arguments), stamp()
        match moment:
            case "in an epoch":
                until = time.monotonic() + 3600

                def passed(before=before):
                    nonlocal until
                    if changed(checkpoint, before):
                        until = min(until, time.monotonic() + pause)
                    return time.monotonic() > until

                kill_when(process, passed)
            case "written, not yet reported":
                kill_when(process, lambda before=before: changed(checkpoint, before))
            case "while writing":
                kill_when(process, writing.exists)
        assert checkpoint.exists()
        arguments = resumed
    last = start(*arguments)
    assert last.wait(200) == 0, (tmp_path / "log-4").read_text()

    models = [(tmp_path / run / "bundle" / "model.onnx").read_bytes() for run in ("whole", "cut")]
    assert models[0] == models[1], f"seed {seed}"
    manifests = [json.loads((tmp_path / run / "bundle" / "manifest.json").read_text()) for run in ("whole", "cut")]
    for name in ("metrics", "reference", "uncertainty", "model_sha256"):
        assert manifests[0][name] == manifests[1][name]
    assert manifests[1]["training"]["epochs"] == EPOCHS
    assert not writing.exists()

    os.environ["MLFLOW_TRACKING_URI"] = store
    client = MlflowClient(store)
    run = client.get_run(manifests[1]["training"]["run_id"])
    assert run.info.status == "FINISHED" and len(run.outputs.model_outputs) == 1
    for name in ("train_loss", "validation_accuracy"):
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, name)]
        assert steps == list(range(1, EPOCHS + 1)), "an epoch is missing or twice"

"""Two processes with Gloo train as one does with the same batches, and only the first leaves anything."""

import json
import os
import re
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from ml.model.architectures import build
from ml.training import epoch as loop
from ml.training.epoch import TrainingError
from ml.training.trainer import fit
from tests import servers
from tests.ml.conftest import COLOURS, draw

# Losses of the two ways. The pictures and the order are the same; what differs is the order of additions.
TOLERANCE = 1e-4
# With batch normalisation, each process normalises by its own half of the batch.
TOLERANCE_NORMALISED = 0.15

# The same in one process and in two: a network without batch normalisation, in 32 bits.
TRAIN = """
import json, sys, torch
from dataclasses import asdict
from pathlib import Path
from ml.training import distributed, epoch as loop
from ml.data.scan import scan
from ml.training.trainer import fit
from ml.training.loader import Pixels
from ml.training.config import TrainingConfig

data, folder = Path(sys.argv[1]), Path(sys.argv[2])
loop.mixed_precision = lambda _: None
torch.set_num_threads(1)
found = scan(data, progress=False)
recipe = TrainingConfig(size=32, train_size=32, epochs=3, batch=16, rotation=10, erase=0.3)
device = torch.device("cpu")
with distributed.processes(device):
    if not distributed.is_first():
        distributed.of_first(None)
    pixels = [Pixels(found.split(s), n, "stretch", folder / "cache", s) for s, n in (("train", 40), ("validation", 32))]
    if distributed.is_first():
        distributed.of_first(None)
    torch.manual_seed(7 + distributed.rank())  # the first process's weights are the ones that count
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(),
        torch.nn.Linear(128, 2),
    )
    own = folder / f"process-{distributed.rank()}"
    own.mkdir(parents=True)
    fitted = fit(network, *pixels, recipe, device, own)
    (folder / f"{distributed.rank()}.json").write_text(json.dumps([asdict(e) for e in fitted.history]))
"""


def launch(folder: Path, *command: str) -> str:
    """Run a command in two processes."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    env = os.environ | {"PYTHONPATH": str(servers.ROOT), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    command = (sys.executable, *torchrun, *command)
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def histories(colours_folder, tmp_path_factory):
    """The epochs of one process, and of each of two, with the folder of the two."""
    folder = tmp_path_factory.mktemp("distributed")
    script = folder / "script.py"
    script.write_text(TRAIN)
    # In this process, where PyTorch is imported already.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "mixed_precision", loop.mixed_precision)  # put back at the end
        patch.setattr(sys, "argv", [str(script), str(colours_folder), str(folder / "1")])
        runpy.run_path(str(script), run_name="__main__")
    launch(folder, "script.py", str(colours_folder), str(folder / "2"))
    found = {
        processes: [json.loads((folder / str(processes) / f"{rank}.json").read_text()) for rank in range(processes)]
        for processes in (1, 2)
    }
    return found, folder / "2"


def test_two_processes_have_the_loss_curve_of_one(histories):
    (one,), (first, second) = histories[0][1], histories[0][2]
    for alone, shared in zip(one, first, strict=True):
        for name in ("train_loss", "validation_loss"):
            assert shared[name] == pytest.approx(alone[name], abs=TOLERANCE)
        assert shared["train_accuracy"] == pytest.approx(alone["train_accuracy"], abs=0.02)
    assert one[-1]["train_loss"] < one[0]["train_loss"] - 10 * TOLERANCE, "nothing was learned that could differ"
    assert [e["train_loss"] for e in second] == [e["train_loss"] for e in first], "all know the common loss"


def test_only_the_first_writes_checkpoints(histories):
    _, folder = histories
    assert [path.name for path in (folder / "process-0").iterdir()] == ["checkpoint.pt"]
    assert list((folder / "process-1").iterdir()) == []


def test_the_whole_command_logs_one_run_and_learns_as_one_process_does(mlflow_address, tmp_path, recipe, pixels):
    data = draw(tmp_path / "twice", COLOURS, 70)
    options = ["--architecture", "resnet18_slim", "--size", "32", "--batch", "16", "--epochs", "2", "--device", "cpu"]
    places = ["--data", str(data), "--out", "run", "--cache", "cache", "--champion", "served"]
    out = launch(tmp_path, "-m", "ml.train", *options, *places, "--tracking-uri", mlflow_address)
    assert len(re.findall(r"Training ended: all epochs done", out)) == 1
    assert (tmp_path / "run" / "bundle" / "model.onnx").exists()
    client = MlflowClient(mlflow_address)
    (run,) = client.search_runs([client.get_experiment_by_name("twice").experiment_id])
    losses = [m.value for m in client.get_metric_history(run.info.run_id, "train_loss")]
    assert len(losses) == 2 and run.info.status == "FINISHED"
    alone = alone_with(recipe, pixels, tmp_path)
    assert losses == pytest.approx([e.train_loss for e in alone], abs=TOLERANCE_NORMALISED)


def alone_with(recipe, pixels, folder):
    torch.manual_seed(recipe.seed)
    return fit(build(recipe.architecture, 2), *pixels, replace(recipe, epochs=2), torch.device("cpu"), folder).history


def test_a_batch_that_cannot_be_shared_is_refused(recipe, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr("ml.training.distributed.size", lambda: 3)
    with pytest.raises(TrainingError, match="A batch of 16 cannot be shared by 3 processes: choose a multiple"):
        fit(build(recipe.architecture, 2), *pixels, recipe, torch.device("cpu"), tmp_path)

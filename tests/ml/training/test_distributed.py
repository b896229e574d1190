"""Two processes with Gloo train as one process does on the same batches, and only the main process writes."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import torch.distributed
from torch import nn

from ml.model.classifier import build
from ml.training import distributed
from ml.training.config import TrainingConfig
from ml.training.state import TrainingError
from ml.training.trainer import fit

# Of losses. The images and their order are the same; only the order of additions differs.
TOLERANCE = 1e-4
CPU = torch.device("cpu")


class Scaled(nn.Module):
    """Scale pixels from 0 to 255 to numbers that a network learns from."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images / 128 - 1


def train(rank, pixels, config, folder) -> None:
    """Train a network without batch normalisation, in 32 bits, as one of the processes."""
    own = folder / f"process-{rank}"
    own.mkdir(parents=True)
    os.environ["RANK"] = str(rank)
    with pytest.MonkeyPatch.context() as patch, distributed.process_group(CPU):
        patch.setattr("ml.training.state.mixed_precision", lambda _: None)
        torch.manual_seed(7 + rank)  # the main process's weights are the ones that count
        layers = [Scaled(), nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 2)]
        main = distributed.is_main_process()
        assert distributed.broadcast_from_main(rank) == 0 and main == (rank == 0)
        history = fit(nn.Sequential(*layers), *pixels, config, CPU, own).history
    (folder / f"{rank}.json").write_text(json.dumps([asdict(epoch) for epoch in history]))


@pytest.fixture(scope="module")
def histories(pixels, config, tmp_path_factory) -> tuple[list, list, Path]:
    """The epochs of one process, and of each of two, with the folder of the two."""
    folder = tmp_path_factory.mktemp("distributed")
    config = replace(config, epochs=3, rotation=10, erase=0.3)
    # As torchrun's agent does: it keeps the store, and the processes are its clients. No port is guessed.
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANK", "0")  # put back at the end
        train(0, pixels, config, folder / "alone")
        for name, value in {
            "TORCHELASTIC_RUN_ID": "test",
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "WORLD_SIZE": "2",
        }.items():
            patch.setenv(name, value)
        torch.multiprocessing.spawn(train, (pixels, config, folder / "pair"), nprocs=2)
    found = [
        [json.loads((folder / name / f"{rank}.json").read_text()) for rank in range(number)]
        for name, number in (("alone", 1), ("pair", 2))
    ]
    return *found, folder / "pair"


def test_two_processes_have_the_losses_of_one(histories):
    (alone,), (first, second), _ = histories
    for one, shared in zip(alone, first, strict=True):
        for name in ("train_loss", "validation_loss"):
            assert shared[name] == pytest.approx(one[name], abs=TOLERANCE)
        assert shared["train_accuracy"] == pytest.approx(one["train_accuracy"], abs=0.02)
    assert alone[-1]["train_loss"] < alone[0]["train_loss"] - 10 * TOLERANCE, "nothing was learned that could differ"
    assert [e["train_loss"] for e in second] == [e["train_loss"] for e in first], "both know the common loss"


def test_only_the_main_process_writes_checkpoints(histories):
    folder = histories[2]
    assert [path.name for path in (folder / "process-0").iterdir()] == ["checkpoint.pt"]
    assert list((folder / "process-1").iterdir()) == []


def test_batch_that_cannot_be_shared_is_refused(config: TrainingConfig, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr("ml.training.distributed.world_size", lambda: 3)
    with pytest.raises(TrainingError, match="A batch of 16 cannot be shared by 3 processes: choose a multiple"):
        fit(build(config.architecture, 2, config.weights), *pixels, config, CPU, tmp_path)

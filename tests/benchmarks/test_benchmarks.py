"""The benchmarks run and print a line for each thing measured; how fast it was is nobody's business here."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import serving, training
from ml.model.architectures import build
from ml.training import checkpoint
from ml.training.config import TrainingConfig
from tests.ml.conftest import COLOURS, draw

LINE = re.compile(r"^\| (\S+) \| (\d+) \| (.*) \|$", re.MULTILINE)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def printed(module, arguments: list[str], monkeypatch, capsys) -> dict[tuple[str, int, str], list[str]]:
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    module.main()
    found = {}
    for name, size, rest in LINE.findall(capsys.readouterr().out):
        cells = rest.split(" | ")
        found[name, int(size), cells[0]] = cells
    return found


def test_training_prints_loader_and_step_for_each_network_and_side(monkeypatch, capsys):
    arguments = ["--architectures", "resnet18_slim", "--sides", "32", "48", "--pictures", "128", "--device", "cpu"]
    found = printed(training, arguments, monkeypatch, capsys)
    assert [key[:2] for key in found] == [("resnet18_slim", 32), ("resnet18_slim", 48)]
    for loader, step in found.values():
        assert float(loader.replace(",", "")) > 0 and float(step.replace(",", "")) > 0


@pytest.fixture
def run(tmp_path) -> Path:
    """A run whose network calls everything the second class."""
    recipe = TrainingConfig(architecture="resnet18_slim", size=32)
    network = build(recipe.architecture, 2)
    torch.nn.init.zeros_(network.fc.weight)
    network.fc.bias.data = torch.tensor([0.0, 2.0])
    checkpoint.write(tmp_path / checkpoint.CHECKPOINT, recipe, {"best": network.state_dict()})
    return tmp_path


def test_serving_prints_accuracy_time_and_size_for_each_precision(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(serving, "REPEATS", 2)
    data = draw(tmp_path / "data", COLOURS, 70)
    arguments = ["--run", str(run), "--data", str(data), "--sizes", "32", "--also"]
    found = printed(serving, arguments, monkeypatch, capsys)
    assert ("mobilenet_v3_small", 224, "fp32") in found
    megabytes = {key[2]: float(cells[-1]) for key, cells in found.items() if key[0] == "resnet18_slim"}
    assert megabytes.keys() == {"fp32", "fp16", "int8"} and megabytes["fp32"] > 1.8 * megabytes["fp16"]
    assert megabytes["fp16"] > 1.5 * megabytes["int8"]
    rights = {cells[1] for key, cells in found.items() if key[0] == "resnet18_slim"}
    (right,) = rights
    of_second = [np.mean([p.label for p in serving.collect(data).split(split)]) for split in ("validation", "test")]
    assert right == " / ".join(f"{share:.2%}" for share in of_second)

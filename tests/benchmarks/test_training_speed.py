"""The study of training speed: real epochs of a small network, and the table."""

import torch

from benchmarks.studies.training_speed import COLUMNS, measure
from ml.data.sample import sample
from ml.data.scan import scan
from ml.training.config import TrainingConfig
from tests.ml.conftest import TINY


def test_every_setting_has_its_speeds(tmp_path):
    sample(tmp_path / "images", images=40, progress=False)
    dataset = scan(tmp_path / "images", progress=False)
    settings = {"architecture": TINY, "weights": "scratch", "size": 32, "train_size": 32, "epochs": 2, "batch": 16}
    configs = [TrainingConfig(**settings, frozen=frozen) for frozen in (0, 3)]
    header, _, *rows = measure(dataset, configs, 2, torch.device("cpu"), tmp_path).splitlines()
    assert header == f"| {' | '.join(COLUMNS)} |"
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[:2] for row in cells] == [["32", "0"], ["32", "3"]]
    for row in cells:
        for cell in row[2:]:
            assert float(cell.split(" ")[0].replace(",", "")) > 0 and "–" in cell

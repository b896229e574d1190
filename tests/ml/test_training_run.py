"""Inputs are checked before a run is started."""

import argparse

import pytest
import torch
from mlflow import MlflowClient

from ml.data.dataset import DataError
from ml.training_run import prepare
from tests.ml.conftest import COLOURS, draw


@pytest.mark.parametrize("flag", ["other_set", "out_of_distribution"])
def test_folders_of_one_name_are_refused(flag, colours, tmp_path):
    folders = [draw(tmp_path / place / "street", COLOURS, 1, seed) for seed, place in enumerate(("paris", "rome"), 1)]
    options = argparse.Namespace(**{"acceptance": None, "other_set": [], "out_of_distribution": [], flag: folders})
    with pytest.raises(DataError, match=r"paris/street and .*rome/street .*rename"):
        prepare(MlflowClient("http://127.0.0.1:1"), options, colours, torch.device("cpu"), None)

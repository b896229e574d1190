"""Inputs are checked before a run is started, and a run that was started ends."""

import argparse
import json
from dataclasses import replace

import pytest
import torch
from mlflow import MlflowClient

from ml.data.dataset import DataError
from ml.model.backbones import ModelError
from ml.training import checkpoint
from ml.training_run import build_network, prepare
from tests.ml.conftest import COLOURS, TINY, draw

CPU = torch.device("cpu")


@pytest.fixture
def options(tmp_path):
    """Options of a run in a folder of its own, with the settings of ``config``."""
    settings = {"architecture": TINY, "weights": "scratch", "size": 32, "epochs": 4, "batch": 16}
    paths = {"out": tmp_path / "run", "resume": None, "acceptance": None, "champion": tmp_path / "champion"}
    lists = {"other_set": [], "out_of_distribution": []}
    return argparse.Namespace(**settings, **paths, **lists, experiment="prepared", serve_size=None)


@pytest.mark.parametrize("flag", ["other_set", "out_of_distribution"])
def test_folders_of_one_name_are_refused(flag, options, colours, tmp_path):
    folders = [draw(tmp_path / place / "street", COLOURS, 1, seed) for seed, place in enumerate(("paris", "rome"), 1)]
    setattr(options, flag, folders)
    with pytest.raises(DataError, match=r"paris/street and .*rome/street .*rename"):
        prepare(MlflowClient("http://127.0.0.1:1"), options, colours, CPU, None)


def test_resumed_run_has_the_settings_of_its_new_bundle(options, config, colours, mlflow_address):
    client = MlflowClient(mlflow_address)
    run_id = prepare(client, options, colours, CPU, None).tracker.run_id
    assert client.get_run(run_id).data.params["blend"] == "1.0"
    checkpoint.write(options.out / "checkpoint.pt", config, {})
    options.resume, options.views = options.out, 3
    run = prepare(client, options, colours, CPU, None)
    assert run.tracker.run_id == run_id and run.config.views == 3
    tags = client.get_run(run_id).data.tags
    assert (tags["blend"], tags["views"]) == ("1.0", "3")


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), "KILLED"), (DataError("disk full"), "FAILED")])
def test_error_after_the_start_ends_the_run(options, colours, mlflow_address, monkeypatch, error, status):
    def fail(*_):
        raise error

    monkeypatch.setattr("ml.data.report.write", fail)
    client = MlflowClient(mlflow_address)
    with pytest.raises(type(error)):
        prepare(client, options, colours, CPU, None)
    run_id = json.loads((options.out / "tracking.json").read_text())["run_id"]
    assert client.get_run(run_id).info.status == status


def test_folder_of_a_run_is_refused_with_advice_that_works(options, config, colours, mlflow_address):
    client = MlflowClient(mlflow_address)
    prepare(client, options, colours, CPU, None)
    with pytest.raises(DataError, match=r"run holds a run already: choose another --out\.$"):
        prepare(client, options, colours, CPU, None)
    checkpoint.write(options.out / "checkpoint.pt", config, {})
    with pytest.raises(DataError, match=r"run holds a run already: resume it with --resume .*run, or choose another"):
        prepare(client, options, colours, CPU, None)


def test_side_that_the_network_does_not_take_is_refused_before_the_run(options, config, colours):
    vit = replace(config, architecture="timm/vit_tiny_patch16_224", size=224, train_size=224)
    build_network(vit, colours)
    with pytest.raises(ModelError, match=r"160 pixels .* --train-size 224"):
        build_network(replace(vit, train_size=160), colours)
    with pytest.raises(ModelError, match=r"192 pixels .* --first-size 224"):
        build_network(replace(vit, first_size=192), colours)
    with pytest.raises(ModelError, match=r"240 pixels .* --serve-size 224"):
        build_network(vit, colours, serve_size=240)
    options.architecture = vit.architecture
    with pytest.raises(ModelError, match=r"32 pixels .* --size 224"):
        prepare(MlflowClient("http://127.0.0.1:1"), options, colours, CPU, None)
    assert not options.out.exists()

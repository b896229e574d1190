"""The head is trained on images as they are served, and cross-validated where there are few."""

from argparse import Namespace
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from ml import transfer
from ml.training.config import TrainingConfig
from ml.transfer import as_served, blend, is_cross_validated


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.25, 1.5), (1.0, 3.0)])
def test_blend_averages_the_weights_but_not_the_counters(share, expected):
    initial = {"weight": torch.ones(3), "batches": torch.tensor(5)}
    tuned = {"weight": torch.full((3,), 3.0), "batches": torch.tensor(9)}
    blended = blend(initial, tuned, share)
    assert blended["weight"].tolist() == [expected] * 3 and blended["batches"] == 9


@pytest.fixture
def run(colours, cache):
    """The parts of a training run that the images depend on."""
    config = TrainingConfig(size=32)
    return SimpleNamespace(dataset=colours, config=config, options=Namespace(serve_size=None, cache=cache))


@pytest.mark.parametrize(("share", "side", "larger"), [(1.0, 32, 48), (0.75, 43, 64)])
def test_images_as_served_have_the_served_size(run, colours, share, side, larger):
    run.config = replace(run.config, serve_crop=share)
    both = as_served(run, ("train", "validation"))
    assert len(both) == len(colours.images) - len(colours.split("test"))
    assert (both.side, both.seen) == (side, 32)
    run.options.serve_size = 48
    validation = as_served(run, ("validation",))
    assert validation.pixels.shape[1:] == (larger, larger, 3) and validation.seen == 48


def test_few_images_are_cross_validated_unless_the_whole_network_trains(run, monkeypatch):
    assert is_cross_validated(run)
    run.config = replace(run.config, epochs=1)
    assert not is_cross_validated(run)
    run.config = TrainingConfig(weights="scratch")
    assert not is_cross_validated(run)
    run.config = TrainingConfig(weights="checkpoint.pt")
    assert is_cross_validated(run)
    monkeypatch.setattr(transfer, "CROSS_VALIDATED_IMAGES", 100)
    assert not is_cross_validated(run)

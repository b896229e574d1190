"""Steps of the pipeline; test_train.py tests the whole command."""

from argparse import Namespace
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ml import pipeline
from ml.pipeline import as_served, blend, evenly_spaced, is_cross_validated
from ml.training.config import TrainingConfig
from ml.training.loader import Pixels


def test_evenly_spaced_represents_every_class():
    images = object.__new__(Pixels)
    images.labels = np.arange(5000) // 1000  # sorted by class, as a data set's are
    images.pixels = np.broadcast_to(images.labels.astype(np.uint8)[:, None, None, None], (5000, 4, 4, 3))
    chosen = evenly_spaced(images, 64)
    assert chosen.shape == (64, 4, 4, 3) and set(chosen[:, 0, 0, 0].tolist()) == {0, 1, 2, 3, 4}
    images.labels, images.pixels = images.labels[:3], images.pixels[:3]
    assert len(evenly_spaced(images, 64)) == 3


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


def test_images_as_served_have_the_served_size_and_an_even_limit(run, colours):
    both = as_served(run, ("train", "validation"))
    assert both.pixels.shape[1] == 32 and len(both) == len(colours.images) - len(colours.split("test"))
    run.options.serve_size = 48
    assert as_served(run, ("validation",)).pixels.shape[1:] == (48, 48, 3)
    some = as_served(run, ("train",), limit=30)
    every = as_served(run, ("train",))
    assert 20 <= len(some) <= 30 and torch.equal(some.labels, every.labels[:: -(-len(every) // 30)])
    assert len(as_served(run, ("train",), limit=len(every))) == len(every)


def test_few_images_are_cross_validated_unless_the_whole_network_trains(run, monkeypatch):
    assert is_cross_validated(run)
    run.config = replace(run.config, epochs=1)
    assert not is_cross_validated(run)
    run.config = TrainingConfig(weights="scratch")
    assert not is_cross_validated(run)
    run.config = TrainingConfig(weights="checkpoint.pt")
    assert is_cross_validated(run)
    monkeypatch.setattr(pipeline, "CROSS_VALIDATED_IMAGES", 100)
    assert not is_cross_validated(run)

"""Limits flag the promised shares of held-out images."""

import numpy as np
import pytest
import torch

from bundle.load import load
from ml.export.limits import HIGH_SCORE, LOW_CONFIDENCE, choose_limits, cross_validated_distances, measure_limits
from ml.model.residual import Residual
from ml.training.head import fold_indices
from ml.training.loader import EVALUATION_BATCH, Pixels
from tests import bundles


def test_limits_flag_less_than_one_percent():
    random = np.random.default_rng(0)
    sure = random.uniform(0.5, 1, (5000, 1)).astype(np.float32)
    scores = random.uniform(0, 1, 5000).astype(np.float32)
    limits = choose_limits(np.hstack([sure, 1 - sure]), scores)
    assert 0.005 < limits.flagged <= LOW_CONFIDENCE + HIGH_SCORE < 0.01
    assert 0 < (sure < limits.least_confidence).mean() <= LOW_CONFIDENCE
    assert 0 < (scores > limits.greatest_distance).mean() <= HIGH_SCORE


def test_limits_of_few_images_flag_none():
    limits = choose_limits(np.array([[0.9, 0.1], [0.4, 0.6]], np.float32), np.array([0.1, 0.2], np.float32))
    assert limits.least_confidence == pytest.approx(0.6) and limits.flagged == 0
    assert limits.greatest_distance == pytest.approx(0.2)


def test_limits_are_of_the_bundles_own_answers(tmp_path):
    images = object.__new__(Pixels)
    number = EVALUATION_BATCH + 6
    images.pixels = np.zeros((number, bundles.SIZE, bundles.SIZE, 3), np.uint8)
    images.pixels[..., 0] = np.arange(100, 100 + number)[:, None, None]
    images.labels = torch.zeros(number, dtype=torch.long)
    limits = measure_limits(load(bundles.write(tmp_path / "bundle")), images)
    # The tiny bundle's score is the mean of the strongest colour.
    assert limits.greatest_distance == pytest.approx((99 + number) / 255, abs=1e-3) and limits.flagged == 0
    assert 1 / 3 < limits.least_confidence < 1


def test_distance_of_an_image_is_by_the_other_folds_images(shape_features, shape_pixels):
    labels, groups = shape_pixels.labels, shape_pixels.groups
    distances = cross_validated_distances(shape_features, labels, groups, seed=0)
    rest, held_out = fold_indices(labels, groups, seed=0)[2]
    torch.testing.assert_close(distances[held_out], Residual(shape_features[rest])(shape_features[held_out]))
    assert distances.mean() > Residual(shape_features)(shape_features).mean() + 0.02

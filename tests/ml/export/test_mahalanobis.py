"""Distances are to the nearest class, in units of its spread; limits flag the promised shares."""

import numpy as np
import pytest
import torch

from ml.export.mahalanobis import MahalanobisDistance, choose_limits


@pytest.fixture(scope="module")
def clouds():
    """Two long clouds of points side by side."""
    torch.manual_seed(0)
    labels = torch.arange(4000) % 2
    points = torch.randn(4000, 2) * torch.tensor([10.0, 2.0])
    points[:, 1] += 20.0 * labels
    return points, labels


def test_distance_is_in_units_of_each_directions_spread(clouds):
    distance = MahalanobisDistance(*clouds)
    along, across = distance(torch.tensor([[10.0, 0.0], [0.0, 10.0]]))
    assert across > 4 * along


def test_distance_is_small_at_each_class_and_large_between(clouds):
    distance = MahalanobisDistance(*clouds)
    first, second, middle = distance(torch.tensor([[0.0, 0.0], [0.0, 20.0], [0.0, 10.0]]))
    assert first < 0.1 and second < 0.1 and middle > 3
    points, _ = clouds
    # The ridge widens the thin direction a little.
    assert distance(points).square().mean().item() == pytest.approx(1, rel=0.1)


def test_more_features_than_images_still_have_a_distance():
    torch.manual_seed(0)
    features = torch.randn(20, 64)
    distances = MahalanobisDistance(features, torch.arange(20) % 2)(torch.cat([features, 10 + features]))
    assert distances.isfinite().all() and distances[20:].min() > distances[:20].max()


def test_limits_flag_less_than_one_percent():
    random = np.random.default_rng(0)
    sure = random.uniform(0.5, 1, (5000, 1)).astype(np.float32)
    distances = random.normal(1, 0.1, 5000).astype(np.float32)
    limits = choose_limits(np.hstack([sure, 1 - sure]), distances)
    assert 0.003 < limits.flagged <= 0.006
    assert (sure < limits.least_confidence).mean() <= 0.002 and (distances > limits.greatest_distance).mean() <= 0.004
    assert (sure < limits.least_confidence).any() and (distances > limits.greatest_distance).any()


def test_limits_of_few_images_flag_none():
    limits = choose_limits(np.array([[0.9, 0.1], [0.4, 0.6]], np.float32), np.array([1.0, 2.0], np.float32))
    assert limits.least_confidence == pytest.approx(0.6) and limits.greatest_distance == 2 and limits.flagged == 0

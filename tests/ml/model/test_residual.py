"""Out-of-distribution scores are low for the training images and high for others."""

import pytest
import torch
from torch.nn.functional import rms_norm

from ml.model import residual
from ml.model.residual import RIDGE, Residual


def normalised(rows: torch.Tensor) -> torch.Tensor:
    """Scale rows as a backbone's features are."""
    return rms_norm(rows, [rows.shape[1]])


def points(number: int, features: int, directions: int, seed: int = 0) -> torch.Tensor:
    """Draw features that lie near the first directions of a space."""
    random = torch.Generator().manual_seed(seed)
    rows = torch.randn(number, features, generator=random)
    rows[:, directions:] *= 0.05
    return normalised(rows)


def test_score_equals_the_ridge_mahalanobis_distance():
    features = points(200, 24, 6)
    unit = features.double() / 24**0.5
    ridge = RIDGE / 24 * torch.eye(24, dtype=torch.float64)
    inverse = torch.linalg.inv(unit.T @ unit / len(unit) + ridge)
    others = points(50, 24, 24, seed=1)
    rows = others.double() / 24**0.5
    expected = RIDGE / 24 * ((rows @ inverse) * rows).sum(1)
    torch.testing.assert_close(Residual(features)(others), expected.float(), atol=1e-5, rtol=1e-4)


def test_weak_directions_beyond_the_limit_count_as_empty(monkeypatch):
    features = points(200, 24, 6)
    whole = Residual(features)
    monkeypatch.setattr(residual, "MAX_DIRECTIONS", 6)
    cut = Residual(features)
    assert cut.directions.shape == (24, 6)
    assert (cut(features) >= whole(features) - 1e-6).all()
    torch.testing.assert_close(cut(features), whole(features), atol=0.05, rtol=0)


@pytest.mark.parametrize("number", [1, 5, 40, 1000])
def test_scores_are_from_0_to_1_and_lower_for_training_images(number):
    features, others = points(number, 64, 8), points(200, 64, 64, seed=1)
    score = Residual(features)
    known, unknown = score(features), score(others)
    assert known.min() >= 0 and unknown.max() <= 1 + 1e-6
    assert known.max() < unknown.mean() and known.mean() < unknown.min()


def test_training_like_shapes_score_below_noise(shape_features, pretrained):
    noise = torch.randint(0, 256, (8, 3, 64, 64), generator=torch.Generator().manual_seed(0)).float()
    with torch.inference_mode():
        unknown = Residual(shape_features[::2])(pretrained(noise))
    held_out = Residual(shape_features[::2])(shape_features[1::2])
    assert held_out.quantile(0.9) < unknown.min()

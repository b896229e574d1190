"""Out-of-distribution scores rise with the residual, and fall with the logits."""

import pytest
import torch

from ml.model.residual import Residual
from ml.model.virtual_logit import VirtualLogit
from tests.ml.model.test_residual import points

LOGITS = torch.tensor([[4.0, 0.0, -4.0], [-2.0, 5.0, -3.0]])


@pytest.fixture
def score() -> VirtualLogit:
    return VirtualLogit(Residual(points(200, 24, 6)), torch.tensor([0.1, 0.3]), LOGITS)


def test_score_is_a_logistic_function_of_both_parts(score):
    distances = torch.tensor([0.2, 0.4])
    expected = torch.sigmoid(distances / 0.2 - LOGITS.logsumexp(1) / 4.5)
    torch.testing.assert_close(score.combine(distances, LOGITS), expected)
    features = points(2, 24, 24, seed=1)
    torch.testing.assert_close(score(features, LOGITS), score.combine(score.residual(features), LOGITS))


def test_a_far_image_and_an_unsure_one_score_higher(score):
    near, far = torch.tensor([0.1]), torch.tensor([0.5])
    sure, unsure = torch.tensor([[5.0, -5.0, 0.0]]), torch.tensor([[0.2, -0.2, 0.0]])
    assert score.combine(far, sure) > score.combine(near, sure) < score.combine(near, unsure)


def test_a_constant_added_to_all_logits_changes_nothing(score):
    distances = torch.tensor([0.2, 0.4])
    torch.testing.assert_close(score.combine(distances, LOGITS + 7), score.combine(distances, LOGITS))
    moved = VirtualLogit(score.residual, torch.tensor([0.1, 0.3]), LOGITS - 7)
    torch.testing.assert_close(moved.combine(distances, LOGITS), score.combine(distances, LOGITS))


@pytest.mark.parametrize("factor", [1e-9, 1e-3, 1e3])
def test_scores_stay_finite_whatever_the_size_of_residuals_and_logits(factor):
    residual = Residual(points(200, 24, 6))
    score = VirtualLogit(residual, torch.tensor([0.1, 0.3]) * factor, LOGITS * factor)
    found = score.combine(torch.tensor([0.2, 0.4]) * factor, LOGITS * factor)
    assert found.isfinite().all() and (found >= 0).all() and (found <= 1).all()

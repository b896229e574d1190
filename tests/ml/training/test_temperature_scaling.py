"""Temperature scaling corrects the confidence."""

import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from ml.training.temperature_scaling import fit_temperature


def test_temperature_corrects_wrong_confidence():
    random = torch.Generator().manual_seed(0)
    calibrated = torch.randn((2000, 3), generator=random) * 2
    labels = torch.distributions.Categorical(logits=calibrated).sample()
    overconfident = calibrated * 5
    temperature = fit_temperature(overconfident, labels)
    assert temperature == pytest.approx(5, rel=0.15)
    assert cross_entropy(overconfident / temperature, labels) < cross_entropy(overconfident, labels)
    assert fit_temperature(calibrated / 4, labels) == pytest.approx(0.25, rel=0.15)


def test_few_correct_images_do_not_give_full_confidence():
    labels = torch.tensor([0, 1] * 10)
    logits = one_hot(labels, 2) * 2.0
    confidence = (logits / fit_temperature(logits, labels)).softmax(1).max().item()
    assert 0.9 < confidence < 0.99

import pytest
import torch
from torch import nn

from ml.training.temperature_scaling import fit_temperature


def test_temperature_heals_overconfidence():
    random = torch.Generator().manual_seed(0)
    calm = torch.randn((2000, 3), generator=random) * 2
    labels = torch.distributions.Categorical(logits=calm).sample()
    overconfident = calm * 5
    temperature = fit_temperature(overconfident, labels)
    assert temperature == pytest.approx(5, rel=0.15)
    loss = nn.functional.cross_entropy
    assert loss(overconfident / temperature, labels) < loss(overconfident, labels)
    assert fit_temperature(calm / 4, labels) == pytest.approx(0.25, rel=0.15)


def test_few_pictures_all_classified_rightly_are_no_proof_of_certainty():
    labels = torch.tensor([0, 1] * 10)
    logits = nn.functional.one_hot(labels, 2) * 2.0
    confidence = (logits / fit_temperature(logits, labels)).softmax(1).max().item()
    assert 0.9 < confidence < 0.99

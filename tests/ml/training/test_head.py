"""Heads separate what the features separate, and cross-validation never uses an image for its own answer."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, rms_norm

from ml.training import head
from ml.training.head import EPOCHS, FOLDS, cross_validate, fold_indices, train


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return (logits.argmax(1) == labels).float().mean().item()


def alone(number: int) -> list[str]:
    """Name a group for each image."""
    return [str(i) for i in range(number)]


@pytest.fixture(scope="module")
def clouds() -> tuple[torch.Tensor, torch.Tensor]:
    """Features of three classes, far from zero, which overlap a little."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(150) % 3
    rows = 5 + torch.randn(150, 40, generator=random)
    rows[torch.arange(150), labels] += 2.5
    return rms_norm(rows, [40]), labels


def test_head_on_pretrained_features_tells_drawn_shapes(shape_features, shape_pixels):
    result = cross_validate(shape_features, shape_pixels.labels, shape_pixels.groups)
    assert accuracy(result.logits, shape_pixels.labels) > 0.8
    assert accuracy(result.linear(shape_features), shape_pixels.labels) > 0.9


@pytest.mark.parametrize("seed", [0, 1])
def test_random_labels_are_guessed_by_chance(shape_features, shape_pixels, seed):
    labels = torch.randint(0, 2, (len(shape_features),), generator=torch.Generator().manual_seed(seed))
    result = cross_validate(shape_features, labels, shape_pixels.groups)
    assert abs(accuracy(result.logits, labels) - 0.5) < 4 * math.sqrt(0.25 / len(labels))


def test_copies_do_not_answer_for_each_other():
    # Each image comes twice with a random label: its copy in another fold would give it away.
    random = torch.Generator().manual_seed(0)
    features = rms_norm(torch.randn(60, 200, generator=random), [200]).repeat_interleave(2, 0)
    labels = torch.randint(0, 2, (60,), generator=random).repeat_interleave(2)
    grouped = cross_validate(features, labels, [str(i // 2) for i in range(120)])
    assert accuracy(cross_validate(features, labels, alone(120)).logits, labels) > 0.85
    assert accuracy(grouped.logits, labels) < 0.7


def test_views_do_not_answer_for_their_images():
    random = torch.Generator().manual_seed(0)
    features = rms_norm(torch.randn(60, 200, generator=random), [200])
    labels = torch.randint(0, 2, (60,), generator=random)
    result = cross_validate(features, labels, alone(60), views=[features + 1e-3, features - 1e-3])
    assert accuracy(result.logits, labels) < 0.7
    assert accuracy(result.linear(features), labels) > 0.95


def test_cross_validated_answer_is_of_a_head_trained_without_the_image(clouds, monkeypatch):
    features, labels = clouds
    monkeypatch.setattr(head, "STRENGTHS", (1.0,))
    result = cross_validate(features, labels, alone(150), seed=3)
    assert result.folds == FOLDS
    for rest, held_out in fold_indices(labels, alone(150), seed=3):
        again = train(features[rest], labels[rest], features[held_out], labels[held_out])
        torch.testing.assert_close(again.logits, result.logits[held_out], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("fewest", [2, 3, 40])
def test_folds_hold_each_image_once_and_all_classes(fewest):
    labels = torch.tensor([0] * 40 + [1] * fewest)
    folds = fold_indices(labels, alone(len(labels)))
    assert len(folds) == min(FOLDS, fewest)
    assert torch.cat([held_out for _, held_out in folds]).sort().values.tolist() == list(range(len(labels)))
    for rest, held_out in folds:
        assert not set(rest.tolist()) & set(held_out.tolist()) and len(rest) + len(held_out) == len(labels)
        assert set(labels[rest].tolist()) == set(labels[held_out].tolist()) == {0, 1}


def test_folds_keep_groups_together():
    labels = torch.arange(90) % 2
    groups = [f"group {i // 6}" for i in range(90)]
    for rest, held_out in fold_indices(labels, groups):
        assert not {groups[i] for i in rest} & {groups[i] for i in held_out}


def test_folds_depend_on_the_seed_alone(clouds):
    _, labels = clouds
    first, again, other = (fold_indices(labels, alone(150), seed)[0][1].tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_train_minimises_the_penalised_loss(clouds, monkeypatch):
    features, labels = clouds
    monkeypatch.setattr(head, "STRENGTHS", (0.1,))
    linear = train(features, labels, features, labels).linear
    scale = (features - features.mean(0)).std()
    weight, bias = linear.weight.clone().requires_grad_(), linear.bias.clone().requires_grad_()
    penalty = (weight * scale).square().sum() / (2 * 0.1 * len(labels))
    objective = cross_entropy(features @ weight.T + bias, labels) + penalty
    gradients = torch.autograd.grad(objective, (weight, bias))
    assert max(float(gradient.abs().max()) for gradient in gradients) < 2e-3
    assert not linear.weight.requires_grad


def test_losses_fall_and_are_of_the_head(clouds):
    features, labels = clouds
    result = train(features[:100], labels[:100], features[100:], labels[100:])
    assert len(result.train_losses) == len(result.validation_losses) == EPOCHS and result.folds == 0
    assert max(result.train_losses) < 0.6 * math.log(3), "worse than the frequencies of the classes"
    logits = result.linear(features[100:])
    torch.testing.assert_close(logits, result.logits)
    assert result.validation_losses[-1] == pytest.approx(cross_entropy(logits, labels[100:]).item(), rel=1e-4)


def test_validation_chooses_the_penalty(monkeypatch):
    # One feature tells the class of few images among much noise: a weak penalty fits the noise.
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    rows = torch.randn(400, 60, generator=random)
    rows[:, 0] += 1.5 * labels
    known, held_out = slice(0, 60), slice(60, 400)
    losses = {}
    for strength in (1e-2, 1e2):
        monkeypatch.setattr(head, "STRENGTHS", (strength,))
        result = train(rows[known], labels[known], rows[held_out], labels[held_out])
        losses[strength] = head._calibrated_loss(result.logits, labels[held_out])
    monkeypatch.setattr(head, "STRENGTHS", (1e2, 1e-2))
    result = train(rows[known], labels[known], rows[held_out], labels[held_out])
    assert head._calibrated_loss(result.logits, labels[held_out]) == pytest.approx(min(losses.values()))
    assert losses[1e-2] < losses[1e2]

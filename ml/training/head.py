"""Train the head: a linear classifier on cached features, by logistic regression."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, nll_loss

from ml.training.temperature_scaling import fit_temperature

# Inverse strengths of the L2 penalty, of which validation chooses one.
STRENGTHS = (1e-2, 1e-1, 1.0)
EPOCHS = 12
STEPS_PER_EPOCH = 5
FOLDS = 5


@dataclass(frozen=True)
class HeadResult:
    """A trained head.

    Attributes:
        linear: The head, on the CPU.
        train_losses: Mean loss on the training images after each epoch, nats.
        validation_losses: Mean loss on the held-out images after each epoch, nats.
        logits: Logits ``(m, classes)`` of the held-out images, each by a head that was trained without it.
        labels: Class indices ``(m,)`` of the held-out images.
        folds: Number of folds of the cross-validation; 0 without one.
    """

    linear: nn.Linear
    train_losses: list[float]
    validation_losses: list[float]
    logits: Tensor
    labels: Tensor
    folds: int = 0


def train(features: Tensor, labels: Tensor, held_out: Tensor, held_out_labels: Tensor) -> HeadResult:
    """Train a head, with the penalty that suits the held-out images best.

    Args:
        features: Of the training images, shape ``(n, features)``.
        labels: Class indices ``(n,)``; every class is among them.
        held_out: Features of the validation images, shape ``(m, features)``.
        held_out_labels: Class indices ``(m,)``.
    """
    results = []
    for strength in STRENGTHS:
        train_losses, validation_losses, linear = [], [], None
        for linear, loss in _epochs(features, labels, strength):
            train_losses.append(loss)
            validation_losses.append(_loss(linear(held_out), held_out_labels))
        assert linear is not None
        results.append(HeadResult(linear, train_losses, validation_losses, linear(held_out), held_out_labels))
    return min(results, key=lambda result: _calibrated_loss(result.logits, held_out_labels))


def cross_validate(
    features: Tensor, labels: Tensor, groups: list[str], views: Sequence[Tensor] = (), seed: int = 0
) -> HeadResult:
    """Train a head on all images, and estimate its answers for others by cross-validation.

    Args:
        features: Shape ``(n, features)``.
        labels: Class indices ``(n,)``.
        groups: Name of each image's group of near-duplicates; a group is in one fold.
        views: Features of augmented views of the images, to train on; each of shape ``(n, features)``.
        seed: Of the folds.
    """

    def with_views(rows: Tensor) -> tuple[Tensor, Tensor]:
        parts = [part[rows] for part in (features, *views)]
        return torch.cat(parts), labels[rows].repeat(len(parts))

    splits = fold_indices(labels, groups, seed)
    best: tuple[float, float, list[float], Tensor] | None = None
    for strength in STRENGTHS:
        logits = torch.zeros(len(labels), int(labels.max()) + 1)
        losses = np.zeros(EPOCHS)
        for rest, held_out in splits:
            for epoch, (linear, _) in enumerate(_epochs(*with_views(rest), strength, logits.shape[1])):
                losses[epoch] += _loss(linear(features[held_out]), labels[held_out]) * len(held_out) / len(labels)
            logits[held_out] = linear(features[held_out])
        found = _calibrated_loss(logits, labels)
        if best is None or found < best[0]:
            best = found, strength, losses.tolist(), logits
    assert best is not None
    _, strength, validation_losses, logits = best
    trained = list(_epochs(*with_views(torch.arange(len(labels))), strength))
    return HeadResult(trained[-1][0], [loss for _, loss in trained], validation_losses, logits, labels, len(splits))


def fold_indices(labels: Tensor, groups: list[str], seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Split images into folds with all classes: indices of the other images and of the fold's, for each fold."""
    groups_by_class = Counter(label for _, label in set(zip(groups, labels.tolist(), strict=True)))
    folds = StratifiedGroupKFold(min(FOLDS, *groups_by_class.values()), shuffle=True, random_state=seed)
    splits = folds.split(np.zeros(len(labels)), labels.numpy(), groups)
    return [(torch.from_numpy(rest), torch.from_numpy(held_out)) for rest, held_out in splits]


def _epochs(
    features: Tensor, labels: Tensor, strength: float, classes: int | None = None
) -> Iterator[tuple[nn.Linear, float]]:
    """Train by L-BFGS on centred features; yield the head, on the features as they are, and the training loss.

    All features are divided by one number. A number for each would be an estimate from few images: with 10 in a class,
    5 % more of the answers were wrong.
    """
    mean = features.mean(0)
    scale = (features - mean).std()
    centred = (features - mean) / scale
    linear = nn.Linear(features.shape[1], classes or int(labels.max()) + 1)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=STEPS_PER_EPOCH, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        penalty = linear.weight.square().sum() / (2 * strength * len(labels))
        loss = cross_entropy(linear(centred), labels) + penalty
        loss.backward()
        return loss

    for _ in range(EPOCHS):
        with torch.enable_grad():
            optimizer.step(closure)
        with torch.no_grad():
            plain = nn.Linear(linear.in_features, linear.out_features).requires_grad_(False)
            plain.weight.copy_(linear.weight / scale)
            plain.bias.copy_(linear.bias - plain.weight @ mean)
            yield plain, _loss(plain(features), labels)


def _loss(logits: Tensor, labels: Tensor) -> float:
    return float(nll_loss(log_softmax(logits, 1), labels))


def _calibrated_loss(logits: Tensor, labels: Tensor) -> float:
    """Return the loss at the best temperature, as served."""
    return _loss(logits / fit_temperature(logits, labels), labels)

"""Calibrate probabilities by temperature scaling (Guo et al. 2017)."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Find the temperature with the lowest log loss on validation images.

    The labels are smoothed as in Platt 1999, as if each class had been seen once more. Otherwise a few images that
    are all classified correctly would have their lowest loss at a confidence of 100 %.

    Returns:
        A divisor of the logits ``(n, classes)`` from 0.05 to 20, from a logarithmic grid fine enough for two digits.
    """
    grid = torch.logspace(-1.3, 1.3, 521)
    images, classes = logits.shape
    smoothing = classes / (images + classes)
    losses = torch.stack([cross_entropy(logits / t, labels, label_smoothing=smoothing) for t in grid])
    return float(grid[losses.argmin()])

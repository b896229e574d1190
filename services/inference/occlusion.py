"""Find the parts of an image on which its answer depends: cover one after the other and classify again.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014. It needs nothing of the model but its
answers, so it works with every bundle.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDE = 7  # patches in a row; the model runs once for each
WIDTH = 2  # of a patch, in steps of the grid: smaller ones rarely cover what matters
GREY = 127
LEAST_EFFECT = 0.1  # in log odds, at most 2.5 points of confidence: below it, the map would show noise
TINY = 1e-7  # the resolution of single precision

Classify = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class HeatMap(NamedTuple):
    """The effect of covering each part of an image."""

    values: NDArray[np.float64]
    """Shape ``(SIDE, SIDE)``: 1 for the part on which the answer depends most, 0 for a part without effect."""
    lowest_confidence: float
    """Probability of the label while its most important part is covered."""


def explain(pixels: NDArray[np.uint8], row: NDArray[np.float32], classify: Classify) -> HeatMap:
    """Measure how much the label's log odds fall when each part of the image is covered with grey.

    Args:
        pixels: One decoded image, shape ``(size, size, 3)``.
        row: Its probabilities, shape ``(classes,)``.
        classify: Returns the probabilities of a batch of one.
    """
    label = int(row.argmax())
    size = len(pixels)
    centres = (np.arange(SIDE) + 0.5) * size / SIDE
    half = WIDTH * size / SIDE / 2
    edges = [(max(0, round(c - half)), min(size, round(c + half))) for c in centres]
    falls, lowest = np.zeros((SIDE, SIDE)), float(row[label])
    for y, (top, bottom) in enumerate(edges):
        for x, (left, right) in enumerate(edges):
            covered = pixels.copy()
            covered[top:bottom, left:right] = GREY
            found = classify(covered[np.newaxis])[0]
            falls[y, x] = _log_odds(row, label) - _log_odds(found, label)
            lowest = min(lowest, float(found[label]))
    strongest = falls.max()
    values = falls.clip(0) / strongest if strongest > LEAST_EFFECT else np.zeros_like(falls)
    return HeatMap(values, lowest)


def _log_odds(row: NDArray[np.float32], label: int) -> float:
    # Of the other classes' sum: 1 - p has lost its digits where p is almost 1.
    others = float(np.delete(row, label).sum())
    return float(np.log(max(float(row[label]), TINY)) - np.log(max(others, TINY)))

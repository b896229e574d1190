"""Measure the signals that show drift, and place them among a bundle's reference images."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bundle.answer import DECIMALS
from bundle.image_statistics import statistics
from bundle.manifest import Quantiles, Reference
from bundle.predictor import Predictor

# Of what is sent, then of what is answered; a label is its index among the classes.
SIGNALS = ("brightness", "contrast", "sharpness", "out_of_distribution", "confidence", "label")
BINS = 20
# Upper ends of the bins, in shares of the reference images.
POSITIONS = tuple(round(number / BINS, 2) for number in range(1, BINS + 1))


class Outputs(NamedTuple):
    """Answers and signals of ``n`` images.

    Attributes:
        probabilities: Shape ``(n, classes)``.
        uncertain: A flag per image, shape ``(n,)``; None if the bundle sets no limits.
        signals: From ``measure``.
    """

    probabilities: NDArray[np.float32]
    uncertain: NDArray[np.bool_] | None
    signals: NDArray[np.float32]

    def rows(self, chosen: slice | NDArray[np.intp]) -> "Outputs":
        """Return the outputs of some of the images."""
        uncertain = None if self.uncertain is None else self.uncertain[chosen]
        return Outputs(self.probabilities[chosen], uncertain, self.signals[chosen])


def answer(predictor: Predictor, pixels: NDArray[np.uint8]) -> Outputs:
    """Answer decoded images, shape ``(n, size, size, 3)``, and measure their signals."""
    probabilities, uncertain, scores = predictor.answer_with_scores(pixels)
    return Outputs(probabilities, uncertain, measure(pixels, probabilities, scores))


def join(parts: Sequence[Outputs]) -> Outputs:
    """Join the outputs of one bundle, at least one."""
    flags = [part.uncertain for part in parts if part.uncertain is not None]
    return Outputs(
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate(flags) if flags else None,
        np.concatenate([part.signals for part in parts]),
    )


def measure(
    pixels: NDArray[np.uint8], probabilities: NDArray[np.float32], scores: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Measure the signals of images.

    Args:
        pixels: From ``preprocess.decode``, shape ``(n, size, size, 3)``.
        probabilities: Of ``Predictor.answer_with_scores``, shape ``(n, classes)``.
        scores: Of the same, shape ``(n,)`` or None.

    Returns:
        One row per image and one column per name of ``SIGNALS``, NaN where a signal is unknown.
    """
    found = np.full((len(pixels), len(SIGNALS)), np.nan, np.float32)
    for column, values in enumerate(statistics(pixels).values()):
        found[:, column] = values
    if scores is not None:
        found[:, 3] = scores
    found[:, 4] = probabilities.max(1).round(DECIMALS)  # as in the answer: the rest differs between processors
    found[:, 5] = probabilities.argmax(1)
    return found


class Bins:
    """The bins of one signal, each with a place among ``POSITIONS``.

    A bin's place is the share of reference images up to its end, rounded to a twentieth. So images like the reference
    are spread evenly over the places, whatever the signal measures, and every signal and every bundle fit one
    histogram with fixed bounds.
    """

    def __init__(self, quantiles: Quantiles) -> None:
        """Read the bins of a manifest."""
        self._edges = quantiles.edges
        ends = list(accumulate(quantiles.shares))
        self._places = [min(max(round(BINS * end), 1), BINS) for end in ends[:-1]] + [BINS]
        self._ends = [*ends[:-1], 1.0]

    def place(self, value: float) -> int:
        """Return the place of a value, from 1 to ``BINS``."""
        return self._places[bisect_left(self._edges, value)]

    def cumulative(self) -> list[float]:
        """Return the share of reference images up to each of ``POSITIONS``."""
        shares = [0.0] * BINS
        for place, end in zip(self._places, self._ends, strict=True):
            shares[place - 1 :] = [end] * (BINS - place + 1)
        return shares


def bins_of(reference: Reference | None) -> dict[str, Bins]:
    """Return the bins of each known signal of a manifest; none for bundles older than the signals."""
    known = reference.signals if reference else {}
    return {name: Bins(known[name]) for name in SIGNALS if name in known}


def to_quantiles(values: Sequence[float] | NDArray[np.float32]) -> Quantiles:
    """Describe values by bins that hold about the same share of them; equal values are never divided."""
    ordered = np.sort(np.asarray(values, np.float64))
    cuts = np.quantile(ordered, POSITIONS[:-1], method="inverted_cdf")
    edges = sorted({float(cut) for cut in cuts} - {float(ordered[-1])})
    counts = np.diff([0, *np.searchsorted(ordered, edges, side="right"), len(ordered)])
    return Quantiles(edges=edges, shares=[count / len(ordered) for count in counts.tolist()])

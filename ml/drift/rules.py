"""Decide whether images drift, by the same rules as ``kustomize/base/prometheus/drift.yml``.

Each rule allows for the number of images on both sides, at a level of 1 in 10,000. There are eight rules, so that a
window of images like the reference's alerts in less than 0.1 % of cases.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bundle.manifest import Manifest, Reference
from bundle.signals import BINS, SIGNALS, bins_of
from ml.errors import UserError

# Kolmogorov and Smirnov, from the inequality of Dvoretzky, Kiefer, Wolfowitz and Massart: sqrt(log(2 / level) / 2).
KS_FACTOR = 2.2253
# A smaller distance is not worth an alert, however many images prove it.
LEAST_DISTANCE = 0.1
# Of the bounds by Chernoff and Bernstein: -log(level).
LOG_LEVEL = 9.2103
# Standard errors above the reference's share of uncertain answers.
REFERENCE_Z = 2
LEAST_LOSS = 0.01


class NoReferenceError(UserError):
    """The bundle has no reference to compare with."""


@dataclass(frozen=True)
class Window:
    """Counters of a number of images, as Prometheus knows them.

    Attributes:
        images: Their number; Prometheus extrapolates it to the whole of its window.
        uncertain: Number of flagged images; None if the bundle sets no limits.
        expected_correct: Sum of the confidences.
        cumulative: Share of the images up to each of ``bundle.signals.POSITIONS``, by signal.
    """

    images: float
    uncertain: float | None
    expected_correct: float
    cumulative: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Finding:
    """The outcome of one rule: the value, and the limit that it must not pass."""

    rule: str
    value: float
    limit: float
    drifted: bool


class Comparison:
    """Compares windows of images with the reference of one bundle."""

    def __init__(self, manifest: Manifest) -> None:
        """Read the reference.

        Raises:
            NoReferenceError: The bundle is older than the signals.
        """
        reference = manifest.reference
        if not (reference and reference.signals and reference.images and reference.confidence):
            raise NoReferenceError(
                f"{manifest.name} {manifest.version} has no reference of the signals: renew it from images like those "
                "it was made for, with python -m ml.drift reference FOLDER."
            )
        self.reference: Reference = reference
        self._images, self._confidence = reference.images, reference.confidence
        self._classes = len(manifest.classes)
        self._bins = bins_of(reference)
        self.cumulative = {signal: np.array(bins.cumulative()) for signal, bins in self._bins.items()}

    def places(self, signals: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the place of each signal of each image, from 1; 0 for signals without a reference."""
        found = np.zeros(signals.shape, np.int64)
        for signal, bins in self._bins.items():
            column = SIGNALS.index(signal)
            found[:, column] = [bins.place(value) for value in signals[:, column].tolist()]
        return found

    def window(
        self,
        places: NDArray[np.int64],
        confidences: NDArray[np.float32],
        uncertain: NDArray[np.bool_] | None,
    ) -> Window:
        """Sum up images as the service's counters do."""
        cumulative = {
            signal: np.bincount(places[:, SIGNALS.index(signal)], minlength=BINS + 1)[1:].cumsum() / len(places)
            for signal in self._bins
        }
        flagged = None if uncertain is None else int(uncertain.sum())
        return Window(len(places), flagged, float(confidences.sum(dtype=float)), cumulative)

    def check(self, window: Window) -> list[Finding]:
        """Apply every rule to a window of at least one image."""
        findings = []
        limit = max(KS_FACTOR * math.sqrt(1 / window.images + 1 / self._images), LEAST_DISTANCE)
        for signal, shares in window.cumulative.items():
            distance = float(np.abs(shares - self.cumulative[signal]).max())
            findings.append(Finding(signal, distance, limit, distance > limit))
        if window.uncertain is not None and self.reference.uncertain is not None:
            share, ceiling = window.uncertain / window.images, self.uncertain_ceiling()
            proven = share > ceiling and window.images * divergence(share, ceiling) > LOG_LEVEL
            findings.append(Finding("uncertain answers", share, ceiling, proven))
        estimate, floor = window.expected_correct / window.images, self.accuracy_floor(window.images)
        lost = estimate < min(floor, self._confidence.mean - LEAST_LOSS)
        return [*findings, Finding("estimated accuracy", estimate, floor, lost)]

    def uncertain_ceiling(self) -> float:
        """Return the greatest share of uncertain answers that the reference's own number of images allows for."""
        assert self.reference.uncertain is not None
        flagged = self._images * self.reference.uncertain
        spread = math.sqrt(flagged * (1 - self.reference.uncertain) + REFERENCE_Z**2 / 4)
        return (flagged + REFERENCE_Z**2 / 2 + REFERENCE_Z * spread) / (self._images + REFERENCE_Z**2)

    def accuracy_floor(self, images: float) -> float:
        """Return the least mean confidence that chance explains (Bernstein's inequality)."""
        deviation = self._confidence.deviation * math.sqrt(2 * LOG_LEVEL * (1 / images + 1 / self._images))
        return (
            self._confidence.mean - deviation - 2 / 3 * LOG_LEVEL * (self._confidence.mean - 1 / self._classes) / images
        )


def divergence(share: float, expected: float) -> float:
    """Return the Kullback-Leibler divergence of a share from an expected one (Chernoff's bound), both above 0."""
    share = min(share, 0.999999)
    return share * math.log(share / expected) + (1 - share) * math.log((1 - share) / (1 - expected))

"""Describe the images that live traffic is compared with, for the manifest."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bundle.image_statistics import RANGES
from bundle.manifest import ConfidenceMoments, Histogram, Reference
from bundle.signals import SIGNALS, to_quantiles

REFERENCE_BINS = 20


def reference(
    classes: Sequence[str],
    probabilities: NDArray[np.float32],
    signals: NDArray[np.float32],
    uncertain: NDArray[np.bool_] | None,
) -> Reference:
    """Describe a bundle's answers for at least one image.

    Args:
        classes: In output order.
        probabilities: Shape ``(n, classes)``.
        signals: From ``bundle.signals.measure``.
        uncertain: A flag per image, shape ``(n,)``; None if the bundle sets no limits.
    """
    by_name = dict(zip(SIGNALS, signals.T, strict=True))
    shares = np.bincount(probabilities.argmax(1), minlength=len(classes)) / len(probabilities)
    confidences = probabilities.max(1)
    histogram = _histogram(confidences, (1 / len(classes), 1))
    return Reference(
        predicted_classes=dict(zip(classes, shares.tolist(), strict=True)),
        confidence_bins=histogram.bins,
        confidence_shares=histogram.shares,
        pictures={name: _histogram(by_name[name], limits) for name, limits in RANGES.items()},
        images=len(probabilities),
        signals={name: to_quantiles(values) for name, values in by_name.items() if not np.isnan(values).any()},
        uncertain=None if uncertain is None else float(uncertain.mean()),
        confidence=ConfidenceMoments(
            mean=float(confidences.mean(dtype=float)), deviation=float(confidences.std(dtype=float))
        ),
    )


def _histogram(values: NDArray[np.float32], limits: tuple[float, float]) -> Histogram:
    # Values beyond the limits, also by a rounding error, count in the outermost bins.
    counts, edges = np.histogram(values.clip(*limits), REFERENCE_BINS, range=limits)
    return Histogram(bins=edges.tolist(), shares=(counts / counts.sum()).tolist())

"""The manifest's own numbers as metrics, beside the live ones they are to be compared with."""

import math
from collections.abc import Iterable
from itertools import accumulate

from prometheus_client import Gauge
from prometheus_client.utils import floatToGoString

from bundle.manifest import Manifest, Reference

EDGE_TOLERANCE = 1e-6  # single precision's rounding, far below any bin's width

# All workers say the same, but for the moment when a new model replaces an old one.
held_out_accuracy = Gauge(
    "model_held_out_accuracy",
    "Accuracy on the pictures held out from training",
    ["name", "version"],
    multiprocess_mode="livemostrecent",
)
prediction_share = Gauge(
    "model_reference_prediction_share",
    "Share of each predicted class on the held-out pictures",
    ["label"],
    multiprocess_mode="livemostrecent",
)
confidence_share = Gauge(
    "model_reference_confidence_share",
    "Share of the held-out pictures with at most this confidence",
    ["le"],
    multiprocess_mode="livemostrecent",
)


def show(manifest: Manifest, confidence_edges: Iterable[float]) -> None:
    """Set the gauges; a bundle that was never evaluated has none.

    Args:
        manifest: Of the model being served.
        confidence_edges: Upper edges of the live histogram's buckets.
    """
    if manifest.metrics:
        held_out_accuracy.labels(manifest.name, manifest.version).set(manifest.metrics.accuracy)
    if manifest.reference:
        for label, share in manifest.reference.predicted_classes.items():
            prediction_share.labels(label).set(share)
        for edge, share in cumulative_shares(manifest.reference, confidence_edges).items():
            confidence_share.labels(floatToGoString(edge)).set(share)


def cumulative_shares(reference: Reference, edges: Iterable[float]) -> dict[float, float]:
    """Give the share of confidences at or below each edge, where the reference's own bins tell it.

    Returns:
        Shares from 0 to 1 by edge; an edge inside a bin is left out, because a guess is no reference.
    """
    bins = list(zip(reference.confidence_bins, accumulate(reference.confidence_shares, initial=0.0), strict=True))
    (lowest, _), (highest, _) = bins[0], bins[-1]
    shares = {}
    for edge in edges:
        nearest, share = min(bins, key=lambda one: abs(one[0] - edge))
        if not lowest < edge < highest or math.isclose(nearest, edge, rel_tol=0, abs_tol=EDGE_TOLERANCE):
            shares[edge] = share
    return shares

"""Count answers and place their signals among the reference's, apart for clients and for the monitor."""

from typing import Any

import numpy as np
from flask import Request
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge, Histogram

from bundle.manifest import Manifest
from bundle.signals import BINS, POSITIONS, SIGNALS, bins_of

SOURCE_HEADER = "X-Request-Source"
CLIENT, MONITOR = SOURCES = ("client", "monitor")

predictions = Counter("predictions", "Images classified", ["label", "source"])
uncertain = Counter("uncertain_predictions", "Images whose answer is flagged as uncertain", ["source"])
expected_correct = Counter("predictions_expected_correct", "Sum of the confidences", ["source"])
position = Histogram(
    "prediction_signal_position",
    "Share of the reference images whose signal is at most that of the image",
    ["signal", "source"],
    buckets=POSITIONS,
)


def reference_gauge(name: str, about: str, *labels: str) -> Gauge:
    """Create a gauge of a manifest's figure."""
    # All workers set the same values, except for a moment when a new model replaces an old one.
    return Gauge(name, about, labels, multiprocess_mode="livemostrecent")


position_share = reference_gauge(
    "model_reference_position_share", "Share of the reference images up to a position", "signal", "le"
)
# Labelled by the model: a metric without labels is 0 until it is set.
images = reference_gauge("model_reference_images", "Images that the reference was measured on", "name", "version")
uncertain_share = reference_gauge(
    "model_reference_uncertain_share", "Share of flagged reference images", "name", "version"
)
confidence_mean = reference_gauge(
    "model_reference_confidence_mean", "Mean confidence of the reference images", "name", "version"
)
confidence_deviation = reference_gauge(
    "model_reference_confidence_deviation", "Standard deviation of their confidences", "name", "version"
)


def source_of(request: Request) -> str:
    """Return ``monitor`` if the request says so, else ``client``."""
    return MONITOR if request.headers.get(SOURCE_HEADER) == MONITOR else CLIENT


def describe(manifest: Manifest) -> None:
    """Set the metrics of a manifest's reference; a bundle older than the signals has none."""
    reference, model = manifest.reference, (manifest.name, manifest.version)
    for signal, bins in bins_of(reference).items():
        for place, share in zip(POSITIONS, bins.cumulative(), strict=True):
            position_share.labels(signal, str(place)).set(share)
    if not reference:
        return
    if reference.images:
        images.labels(*model).set(reference.images)
    if reference.uncertain is not None:
        uncertain_share.labels(*model).set(reference.uncertain)
    if reference.confidence:
        confidence_mean.labels(*model).set(reference.confidence.mean)
        confidence_deviation.labels(*model).set(reference.confidence.deviation)


class Recorder:
    """Records the answers of one model. All its series start at zero: one that appears hides its first event."""

    def __init__(self, manifest: Manifest) -> None:
        """Create the series of a manifest's classes and signals."""
        self._bins = [
            (SIGNALS.index(signal), bins, {source: position.labels(signal, source) for source in SOURCES})
            for signal, bins in bins_of(manifest.reference).items()
        ]
        self._predictions = {
            source: {label: predictions.labels(label, source) for label in manifest.classes} for source in SOURCES
        }
        self._uncertain = {source: uncertain.labels(source) for source in SOURCES}
        self._expected_correct = {source: expected_correct.labels(source) for source in SOURCES}

    def record(self, answers: list[dict[str, Any]], signals: NDArray[np.float32], source: str) -> None:
        """Record the answers of one request, and their rows of ``bundle.signals.measure``."""
        for answer, values in zip(answers, signals.tolist(), strict=True):
            self._predictions[source][answer["label"]].inc()
            self._expected_correct[source].inc(answer["confidence"])
            if answer["uncertain"]:
                self._uncertain[source].inc()
            for column, bins, histograms in self._bins:
                # The middle of the bin: its end may be rounded above the bucket's bound.
                histograms[source].observe((bins.place(values[column]) - 0.5) / BINS)

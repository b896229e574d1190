"""Define the Prometheus metrics, summed over all workers."""

import math
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any

from flask import Request
from flask_openapi3.openapi import OpenAPI
from prometheus_client import Counter, Gauge, Histogram
from prometheus_flask_exporter.multiprocess import GunicornPrometheusMetrics

from bundle.manifest import Manifest, Reference
from services.inference.model import Model
from services.inference.telemetry import drift

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"))
LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds
CONFIDENCE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
EDGE_TOLERANCE = 1e-6  # single precision's rounding, far below the width of any bin
FIRST_SEEN = (200, 500, 503)  # statuses that the objectives are computed from

requests = Counter("request_count", "Requests answered", ["endpoint", "method", "status"])
confidence = Histogram("prediction_confidence", "Probability of the label", ["label"], buckets=CONFIDENCE)
in_flight = Gauge("predictions_in_flight", "Requests being predicted now", multiprocess_mode="livesum")
shed = Counter("requests_shed", "Requests refused because too many were in flight")
model_info = Gauge("model_info", "The model being served", ["name", "version"], multiprocess_mode="livemax")
model_ready = Gauge("model_ready", "1 if every worker has a model", multiprocess_mode="livemin")
model_refused = Gauge("model_refused", "1 if a newer bundle was refused", multiprocess_mode="livemax")
test_accuracy = drift.reference_gauge("model_held_out_accuracy", "Accuracy on the test split", "name", "version")
class_share = drift.reference_gauge(
    "model_reference_prediction_share", "Share of each class on the test split", "label"
)
confidence_share = drift.reference_gauge(
    "model_reference_confidence_share", "Share of the test split up to a confidence", "le"
)


def init_app(app: OpenAPI, model: Model, endpoint: Callable[[Request], str]) -> GunicornPrometheusMetrics:
    """Time every request of the app, labelled by ``endpoint``, and set the metrics of its model.

    Returns:
        The exporter, which generates the text for Prometheus.
    """
    exporter = GunicornPrometheusMetrics(app, group_by=endpoint, buckets=LATENCY)
    app.wsgi_app = _known_methods(app.wsgi_app)  # type: ignore[method-assign]
    # A series that appears with its first event hides that event from rate().
    for status in FIRST_SEEN:
        requests.labels("/predict", "POST", status)
    model_ready.set(model.predictor is not None)
    model_refused.set(bool(model.refused))
    if model.predictor:
        _describe(model.predictor.manifest)
    return exporter


def _describe(manifest: Manifest) -> None:
    model_info.labels(manifest.name, manifest.version).set(1)
    drift.describe(manifest)
    for label in manifest.classes:
        confidence.labels(label)
    if manifest.metrics:
        test_accuracy.labels(manifest.name, manifest.version).set(manifest.metrics.accuracy)
    if manifest.reference:
        for label, share in manifest.reference.predicted_classes.items():
            class_share.labels(label).set(share)
        for edge, share in cumulative_shares(manifest.reference, CONFIDENCE).items():
            confidence_share.labels(str(edge)).set(share)


def cumulative_shares(reference: Reference, edges: Iterable[float]) -> dict[float, float]:
    """Compute the share (0 to 1) of confidences at or below each edge, without the edges inside a reference bin."""
    bins = list(zip(reference.confidence_bins, accumulate(reference.confidence_shares, initial=0.0), strict=True))
    (lowest, _), (highest, _) = bins[0], bins[-1]
    shares = {}
    for edge in edges:
        nearest, share = min(bins, key=lambda one: abs(one[0] - edge))
        if not lowest < edge < highest or math.isclose(nearest, edge, rel_tol=0, abs_tol=EDGE_TOLERANCE):
            shares[edge] = share
    return shares


def _known_methods(wsgi_app: Callable[..., Any]) -> Callable[..., Any]:
    """Rename unknown methods, each of which would be a time series."""

    def wrapped(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ["REQUEST_METHOD"] not in METHODS:
            environ["REQUEST_METHOD"] = "OTHER"
        return wsgi_app(environ, start_response)

    return wrapped

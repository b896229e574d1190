"""What Prometheus scrapes, added up over all workers."""

import contextlib
import struct
import time
from collections.abc import Callable

from flask import Request, Response, current_app, request
from flask_openapi3.openapi import OpenAPI
from prometheus_client import Counter, Gauge, Histogram
from prometheus_flask_exporter.multiprocess import GunicornPrometheusMetrics

from services.inference import reference_metrics as reference
from services.inference.model import Model
from services.inference.schemas import content

OTHER = "other"
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"))
LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
CONFIDENCE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
FIRST_SEEN = (200, 500, 503)  # what the objectives are made of
PAUSES = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32)  # seconds
Text = tuple[bytes, str]
TEXT = content("text/plain", {"type": "string"}, "Prometheus text format")

requests = Counter("request_count", "Requests answered", ["endpoint", "method", "status"])
predictions = Counter("predictions", "Pictures classified", ["label"])
confidence = Histogram("prediction_confidence", "Probability of the label", ["label"], buckets=CONFIDENCE)
in_flight = Gauge("predictions_in_flight", "Requests being predicted now", multiprocess_mode="livesum")
shed = Counter("requests_shed", "Requests refused because too many were in flight")
model_info = Gauge("model_info", "The model being served", ["name", "version"], multiprocess_mode="livemax")
model_ready = Gauge("model_ready", "1 if every worker has a model", multiprocess_mode="livemin")
model_refused = Gauge("model_refused", "1 if a newer bundle was refused", multiprocess_mode="livemax")


def endpoint(request: Request) -> str:
    """The route of a request, never its raw path: anybody can make up paths, and each would be a series."""
    if request.url_rule:
        return request.url_rule.rule
    paths: dict[str, object] = current_app.paths  # type: ignore[attr-defined]
    return request.path if request.path in paths else OTHER  # a known route, but not this method


def register(app: OpenAPI, model: Model) -> None:
    """Serve /metrics, and count and time every request of the app."""
    exporter = GunicornPrometheusMetrics(app, group_by=endpoint, buckets=LATENCY)
    app.wsgi_app = _known_methods(app.wsgi_app)  # type: ignore[method-assign]
    app.after_request(_count)
    # A series that appears with its first event hides that event from rate().
    for status in FIRST_SEEN:
        requests.labels("/predict", "POST", status)
    model_ready.set(model.predictor is not None)
    model_refused.set(bool(model.refused))
    if model.predictor:
        manifest = model.predictor.manifest
        model_info.labels(manifest.name, manifest.version).set(1)
        reference.show(manifest, CONFIDENCE)
        for label in manifest.classes:
            predictions.labels(label)
            confidence.labels(label)

    @app.get("/metrics", summary="Counters for Prometheus, of all workers", responses={200: TEXT})
    def scrape() -> Response:
        text, media_type = collect(exporter.generate_metrics, request.headers.get("Accept"))
        return Response(text, content_type=media_type)


def collect(generate: Callable[[str | None], Text], accept: str | None) -> Text:
    """Add up the files of all workers; a starting worker's is there for a moment before it has a size.

    Args:
        generate: Reads the files as they are now.
        accept: The formats that the scraper takes.

    Returns:
        The metrics as text, and its media type.

    Raises:
        struct.error: A file is still without a size after all ``PAUSES``.
    """
    for pause in PAUSES:
        with contextlib.suppress(struct.error):
            return generate(accept)
        time.sleep(pause)
    return generate(accept)


def _count(response: Response) -> Response:
    requests.labels(endpoint(request), request.method, response.status_code).inc()
    return response


def _known_methods(wsgi):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Rename methods that nobody knows, which would be a series each, before anything labels with them."""

    def wrapped(environ, start_response):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        if environ["REQUEST_METHOD"] not in METHODS:
            environ["REQUEST_METHOD"] = OTHER.upper()
        return wsgi(environ, start_response)

    return wrapped

"""GET /metrics for Prometheus, on the service's port or on its own."""

import struct
import time

from flask import Flask, Response, request
from flask_openapi3.blueprint import APIBlueprint
from prometheus_flask_exporter.multiprocess import GunicornPrometheusMetrics
from werkzeug.exceptions import NotFound

from services.inference.routes import blueprint
from services.inference.schemas import content

ON_METRICS_PORT = frozenset(("/health", "/ready", "/metrics"))
ATTEMPTS = 6
TEXT = content("text/plain", {"type": "string"}, "Prometheus text format")


def create_blueprint(exporter: GunicornPrometheusMetrics) -> APIBlueprint:
    """Create the route that sums the metrics of all workers."""
    routes = blueprint("metrics")

    @routes.get("/metrics", summary="Metrics of all workers for Prometheus", responses={200: TEXT})
    def scrape() -> Response:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                text, media_type = exporter.generate_metrics(request.headers.get("Accept"))
                break
            except struct.error:  # a starting worker's file exists for a moment before it has a size
                if attempt == ATTEMPTS:
                    raise
                time.sleep(0.02 * attempt)
        return Response(text, content_type=media_type)

    return routes


def separate_port(app: Flask, metrics_port: int) -> None:
    """Serve /metrics on its own port only, and nothing but the probes there."""

    @app.before_request
    def check() -> None:
        rule = request.url_rule.rule if request.url_rule else ""
        on_metrics_port = request.environ["SERVER_PORT"] == str(metrics_port)
        if (on_metrics_port and rule not in ON_METRICS_PORT) or (not on_metrics_port and rule == "/metrics"):
            raise NotFound

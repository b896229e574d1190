"""Give each request an id, and record its end: one log line and one count."""

import logging
import re
import time
import uuid

from flask import Flask, Request, Response, current_app, g, request

from services.inference.telemetry import prometheus

HEADER = "X-Request-ID"
VALID_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")

log = logging.getLogger(__name__)


def init_app(app: Flask) -> None:
    """Record every request of the app."""
    app.before_request(_start)
    app.after_request(_finish)


def endpoint(request: Request) -> str:
    """Return the route of a request; never its path, because each invented path would be a time series."""
    if request.url_rule:
        return request.url_rule.rule
    routes: dict[str, object] = current_app.paths  # type: ignore[attr-defined]
    return request.path if request.path in routes else "other"  # a known route, but not this method


def _start() -> None:
    g.started = time.perf_counter()
    given = request.headers.get(HEADER, "")
    g.request_id = given if VALID_ID.fullmatch(given) else uuid.uuid4().hex
    g.log_fields = {}


def _finish(response: Response) -> Response:
    response.headers[HEADER] = g.request_id
    route = endpoint(request)
    prometheus.requests.labels(route, request.method, response.status_code).inc()
    # File names and images are private to the sender: neither is logged.
    log.info(
        "request",
        extra={
            "request_id": g.request_id,
            "method": request.method,
            "endpoint": route,
            "status": response.status_code,
            "duration_ms": round((time.perf_counter() - g.started) * 1000, 3),
            "request_bytes": request.content_length or 0,
            "response_bytes": response.content_length or 0,
            **g.log_fields,
        },
    )
    return response

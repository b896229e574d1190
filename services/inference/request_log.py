"""The request id, and one log line per request; gunicorn.conf.py makes JSON of it."""

import logging
import re
import time
import uuid

from flask import Flask, Response, g, request

from services.inference.telemetry import endpoint

HEADER = "X-Request-ID"
SANE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")

log = logging.getLogger(__name__)


def register(app: Flask) -> None:
    """Give every request an id, in the answer's header and in its log line."""
    app.before_request(_start)
    app.after_request(_finish)


def sane(given: str = "") -> str:
    """Give the client's request id, or one of our own if that is none to be repeated."""
    return given if SANE_ID.fullmatch(given) else uuid.uuid4().hex


def _start() -> None:
    g.started = time.perf_counter()
    g.request_id = sane(request.headers.get(HEADER, ""))
    g.seen = {}


def _finish(response: Response) -> Response:
    response.headers[HEADER] = g.request_id
    # File names and pictures are the sender's own business: neither is logged.
    log.info(
        "request",
        extra={
            "request_id": g.request_id,
            "method": request.method,
            "endpoint": endpoint(request),
            "status": response.status_code,
            "duration_ms": round((time.perf_counter() - g.started) * 1000, 3),
            "request_bytes": request.content_length or 0,
            "response_bytes": response.content_length or 0,
            **g.seen,
        },
    )
    return response

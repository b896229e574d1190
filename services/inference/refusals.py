"""Answers to what is not a request that the app could be asked: the same problem, log line and count as the app's."""

import logging
import uuid
from http import HTTPStatus
from typing import Any

from gunicorn.http.errors import ExpectationFailed, LimitRequestHeaders, ParseException, UnsupportedTransferCoding

from services.inference import problems
from services.inference import request_log as logs
from services.inference import telemetry as metrics
from services.inference.problems import FULL, FULL_DETAIL, FULL_SECONDS, INTERNAL, Kind
from services.inference.security_headers import HEADERS

MAX_REASON = 200  # characters; it quotes what the client sent
REQUEST_TIMEOUT = Kind(408, "request-timeout", "The request took too long")
HEADERS_TOO_LARGE = Kind(431, "headers-too-large", "The headers are too long")
BAD_REQUEST = Kind(400, "bad-request", "Not an HTTP request")
KINDS: dict[type[Exception], Kind] = {
    TimeoutError: REQUEST_TIMEOUT,
    LimitRequestHeaders: HEADERS_TOO_LARGE,
    ExpectationFailed: Kind(417, "expectation-failed", "The Expect header asks for what is not done here"),
    UnsupportedTransferCoding: Kind(501, "transfer-coding", "The Transfer-Encoding is not known here"),
    ParseException: BAD_REQUEST,
}

log = logging.getLogger(__name__)


def answer(request: Any, error: Exception) -> bytes:
    """Log and count an error that never reached the app, and write its answer.

    Args:
        request: What gunicorn could read of the request, or None.
        error: Why it is refused.

    Returns:
        A whole HTTP response that closes the connection.
    """
    kind = next((kind for sort, kind in KINDS.items() if isinstance(error, sort)), INTERNAL)
    request_id = uuid.uuid4().hex
    method = getattr(request, "method", None)
    method = method if method in metrics.METHODS else metrics.OTHER.upper()
    _record(kind, metrics.OTHER, method, request_id)
    return _response(kind, _detail(kind, error, request_id), request_id)


def full(request: Any, endpoint: str) -> bytes:
    """Log and count a request for which there is no place, and write its answer; before its body is read.

    Args:
        request: gunicorn's.
        endpoint: What it asks for, as the app calls it.

    Returns:
        A whole HTTP response that closes the connection.
    """
    request_id = next((logs.sane(value) for name, value in request.headers if name == logs.HEADER.upper()), logs.sane())
    metrics.shed.inc()
    _record(FULL, endpoint, request.method, request_id)
    return _response(FULL, FULL_DETAIL, request_id, f"Retry-After: {FULL_SECONDS}\r\n")


def _record(kind: Kind, endpoint: str, method: str, request_id: str) -> None:
    metrics.requests.labels(endpoint, method, kind.status).inc()
    line = {"request_id": request_id, "method": method, "endpoint": endpoint, "status": kind.status}
    log.log(logging.ERROR if kind is INTERNAL else logging.INFO, "request", extra=line, exc_info=kind is INTERNAL)


def _response(kind: Kind, detail: str, request_id: str, more: str = "") -> bytes:
    body = problems.document(kind, detail, request_id).encode()
    head = (
        f"HTTP/1.1 {kind.status} {HTTPStatus(kind.status).phrase}\r\n"
        f"Content-Type: {problems.MEDIA_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"{logs.HEADER}: {request_id}\r\n"
        "Connection: close\r\n"
        f"{more}"
    )
    return "".join((head, *(f"{name}: {value}\r\n" for name, value in HEADERS.items()), "\r\n")).encode() + body


def _detail(kind: Kind, error: Exception, request_id: str) -> str:
    if kind is INTERNAL:
        return problems.logged_under(request_id)
    if kind is REQUEST_TIMEOUT:
        return "The headers of the request did not arrive in time. Send it again."
    if kind is HEADERS_TOO_LARGE:
        return f"The headers of the request are too long ({error}). Send fewer or shorter ones."
    return f"The request cannot be read: {str(error)[:MAX_REASON]}. Send it with an HTTP client, such as curl."

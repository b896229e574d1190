"""Answer errors as RFC 9457 problem details."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from flask import Flask, Response, current_app, g
from werkzeug.exceptions import HTTPException

from bundle.preprocess import ImageError, UnsupportedImageError

MEDIA_TYPE = "application/problem+json"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kind:
    """A type of problem: its HTTP status, the name that programs test, and a title for people."""

    status: int
    name: str
    title: str


NO_IMAGE = Kind(400, "no-picture", "No image was sent")
BROKEN_UPLOAD = Kind(400, "broken-upload", "The upload is incomplete")
UNAUTHORIZED = Kind(401, "unauthorized", "An API key is needed")
UPLOAD_TIMEOUT = Kind(408, "upload-timeout", "The upload took too long")
TOO_LARGE = Kind(413, "too-large", "The request is too large")
NOT_AN_IMAGE = Kind(415, "not-a-picture", "Not an image of an accepted format")
BROKEN_IMAGE = Kind(422, "broken-picture", "The image cannot be read")
TOO_MANY_REQUESTS = Kind(429, "too-many-requests", "Too many requests from one client")
INTERNAL = Kind(500, "internal", "Internal error")
FULL = Kind(503, "full", "Too many predictions at once")
NO_MODEL = Kind(503, "no-model", "No model is loaded")
UNFIT = Kind(503, "unfit", "Predictions fail")
DRAINING = Kind(503, "draining", "This service is about to stop")

DETAILS = {
    404: "There is nothing at this address. The routes are listed at /docs.",
    405: "This address does not accept this method. The Allow header lists the accepted ones.",
}


class Problem(HTTPException):
    """An error that ends the request with a problem document."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        index: int | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the problem.

        Args:
            kind: Type of the problem.
            detail: One or two sentences for a person: the fault of this request, and the remedy.
            index: Index of the faulty image among several, from zero.
            retry_after: Seconds until another try makes sense.
            headers: Further headers of the response.
        """
        super().__init__(detail)
        self.code = kind.status
        self.kind = kind
        self.index = index
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)


def image_problem(error: ImageError, index: int | None) -> Problem:
    """Create the problem for an image that ``preprocess.decode`` refused."""
    kind = NOT_AN_IMAGE if isinstance(error, UnsupportedImageError) else BROKEN_IMAGE
    return Problem(kind, str(error), index=index)


def init_app(app: Flask) -> None:
    """Answer every error of the app with a problem document."""
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(Exception, _answer_unexpected)


def _answer_http(error: HTTPException) -> Response:
    status = HTTPStatus(error.code or 500)
    if isinstance(error, Problem):
        extra = {} if error.index is None else {"index": error.index}
        return _document(error.kind, error.description or "", error.headers, **extra)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        limit, images = current_app.config["MAX_CONTENT_LENGTH"], current_app.config["MAX_PICTURES"]
        detail = f"One request may have at most {limit:,} bytes and {images} images. Send fewer or smaller ones."
        return _document(TOO_LARGE, detail, {})
    kind = Kind(status, status.phrase.lower().replace(" ", "-"), status.phrase)
    detail = DETAILS.get(status, error.description or status.description)
    return _document(kind, detail, {name: value for name, value in error.get_headers() if name == "Allow"})


def _answer_unexpected(error: Exception) -> Response:
    log.error("unexpected error", exc_info=error, extra={"request_id": g.request_id})
    detail = f"It is logged under the request id {g.request_id}; give this id to the operator of the service."
    return _document(INTERNAL, detail, {})


def _document(kind: Kind, detail: str, headers: Mapping[str, str], **extra: int) -> Response:
    body = {
        "type": f"urn:problem:{kind.name}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "request_id": g.request_id,
        **extra,
    }
    return Response(json.dumps(body) + "\n", kind.status, dict(headers), content_type=MEDIA_TYPE)

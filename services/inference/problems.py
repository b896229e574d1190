"""Errors as RFC 9457 problems: what went wrong, and what to do about it."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from flask import Flask, Response, current_app, g
from werkzeug.exceptions import HTTPException

from bundle.preprocess import UnsupportedImageError

MEDIA_TYPE = "application/problem+json"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kind:
    """A sort of problem: its HTTP status, the name that programs switch on, and a title for people."""

    status: int
    name: str
    title: str


NO_PICTURE = Kind(400, "no-picture", "No picture was sent")
UNAUTHORIZED = Kind(401, "unauthorized", "An API key is needed")
BROKEN_UPLOAD = Kind(400, "broken-upload", "The upload broke off")
UPLOAD_TIMEOUT = Kind(408, "upload-timeout", "The upload took too long")
TOO_LARGE = Kind(413, "too-large", "Too much was sent")
NOT_A_PICTURE = Kind(415, "not-a-picture", "Not a picture of an accepted kind")
BROKEN_PICTURE = Kind(422, "broken-picture", "The picture cannot be read")
TOO_MANY_REQUESTS = Kind(429, "too-many-requests", "Too many requests from one client")
INTERNAL = Kind(500, "internal", "Something is wrong in this service")
FULL = Kind(503, "full", "Too many predictions at once")
NO_MODEL = Kind(503, "no-model", "No model is loaded")
DRAINING = Kind(503, "draining", "This service is about to stop")

FULL_DETAIL = "All places are taken. Send the request again in a second."
FULL_SECONDS = 1
DETAILS = {
    404: "There is nothing at this address. The routes are listed at /docs.",
    405: "This address does not take this method. The Allow header lists those it takes.",
}


class Problem(HTTPException):
    """Ends the request with a problem document."""

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
            kind: What sort of problem it is.
            detail: One or two sentences for a person: what is wrong here, and what to do.
            index: Which of several pictures is meant, counted from zero.
            retry_after: Seconds after which trying again makes sense.
            headers: What the answer must have besides.
        """
        super().__init__(detail)
        self.code = kind.status
        self.kind = kind
        self.index = index
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)


def image_problem(error: Exception, index: int | None) -> Problem:
    """The problem for a picture that ``image.decode`` refused."""
    kind = NOT_A_PICTURE if isinstance(error, UnsupportedImageError) else BROKEN_PICTURE
    return Problem(kind, str(error), index=index)


def register(app: Flask) -> None:
    """Answer every error of the app, expected or not, with a problem document."""
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(Exception, _answer_unexpected)


def _answer_http(error: HTTPException) -> Response:
    status = HTTPStatus(error.code or 500)
    if not isinstance(error, Problem):
        if status == 413:
            return _answer_http(Problem(TOO_LARGE, _limits()))
        kind = Kind(status, status.phrase.lower().replace(" ", "-"), status.phrase)
        detail = DETAILS.get(status, error.description or status.description)
        return _document(kind, detail, headers={k: v for k, v in error.get_headers() if k == "Allow"})
    extra = {} if error.index is None else {"index": error.index}
    return _document(error.kind, error.description or "", error.headers, extra)


def _answer_unexpected(error: Exception) -> Response:
    log.error("unexpected error", exc_info=error, extra={"request_id": g.request_id})
    return _document(INTERNAL, logged_under(g.request_id))


def logged_under(request_id: str) -> str:
    """What to tell a person about an error that is not their own."""
    return f"It is logged under the request id {request_id}; give this id to whoever runs the service."


def _limits() -> str:
    limit, pictures = current_app.config["MAX_CONTENT_LENGTH"], current_app.config["MAX_PICTURES"]
    return (
        f"One request may have at most {limit:,} bytes and {pictures} pictures. Scale the picture down or send fewer."
    )


def _document(
    kind: Kind, detail: str, headers: dict[str, str] | None = None, extra: dict[str, int] | None = None
) -> Response:
    text = document(kind, detail, g.request_id, extra)
    return Response(text, kind.status, headers, content_type=MEDIA_TYPE)


def document(kind: Kind, detail: str, request_id: str, extra: dict[str, int] | None = None) -> str:
    """Write a problem as JSON."""
    body = {
        "type": f"urn:problem:{kind.name}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "request_id": request_id,
        **(extra or {}),
    }
    return json.dumps(body) + "\n"

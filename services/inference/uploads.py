"""From an HTTP request to the bytes of the pictures in it."""

import contextlib
import io
import re
from typing import IO, cast

import flask
from flask import Response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from services.inference.deadlines import Deadlines
from services.inference.problems import BROKEN_UPLOAD, NO_PICTURE, NOT_A_PICTURE, TOO_LARGE, UPLOAD_TIMEOUT, Problem
from services.inference.settings import Settings

FIELD = "file"
HOW_TO = f"Send it as the multipart field '{FIELD}', or as the request body with Content-Type: image/…."
ONE_FILE = re.compile(
    rb'\r\n(?i:Content-Disposition: form-data); name="%s"; filename="[^"\r\n\\]*"\r\n'
    rb"((?i:Content-Type): [^\r\n]*\r\n)?\r\n" % FIELD.encode()
)
DRAIN_SECONDS = 2.0
DRAIN_BYTES = 64 * 2**20

deadlines = Deadlines()


class Request(flask.Request):
    """Keeps uploaded files in memory: a read-only container has no place for temporary ones."""

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return io.BytesIO()


def pictures(settings: Settings) -> list[bytes]:
    """Read the current request's body and give the encoded pictures in it, in order; at least one.

    Raises:
        Problem: No picture in it, too much of it, not in a form that is understood, or it broke off.
        RequestEntityTooLarge: The body is over the limit of bytes.
    """
    body = _body(settings.upload_timeout)
    kind = request.mimetype
    if kind == "multipart/form-data":
        only = only_file(body, request.mimetype_params.get("boundary", ""))
        return [only] if only else _files(settings.max_pictures)
    if not body:
        raise Problem(NO_PICTURE, f"The request is empty. {HOW_TO}")
    if kind.startswith("image/") or kind in ("application/octet-stream", ""):
        return [body]
    raise Problem(NOT_A_PICTURE, f"A body of Content-Type {kind} is not read as a picture. {HOW_TO}")


def _body(seconds: int) -> bytes:
    try:
        with deadlines.limit(request.environ.get("gunicorn.socket"), seconds) as upload:
            body = request.get_data()
            # Of a body without a length, reading stops at the limit and does not say so.
            if len(body) == request.max_content_length and request.environ["wsgi.input"].read(1):
                raise RequestEntityTooLarge
    except HTTPException:
        raise
    except Exception as error:  # the server's own classes for each way in which a chunked body is not one
        broken: Exception | None = error
    else:
        if len(body) >= (request.content_length or 0):
            return body
        broken = None
    if upload.ended:
        detail = f"An upload may take {seconds} seconds, and less when others wait. Send a smaller picture."
        raise Problem(UPLOAD_TIMEOUT, detail) from broken
    raise Problem(BROKEN_UPLOAD, "Less arrived than was announced. Send the request again.") from broken


def only_file(body: bytes, boundary: str) -> bytes | None:
    """Give the file of a form that holds nothing else, written as clients write it; None of any other.

    That is most forms, and werkzeug, which reads the others, takes ten times as long.
    """
    mark = b"--" + boundary.encode()
    head = ONE_FILE.match(body, len(mark))
    if not boundary or head is None or not body.startswith(mark):
        return None
    end = body.find(mark, head.end())
    if end < 0 or body[end - 2 : end] != b"\r\n" or body[end + len(mark) :] not in (b"--\r\n", b"--"):
        return None
    return body[head.end() : end - 2]


def _files(max_pictures: int) -> list[bytes]:
    # Not read(), which copies: what waits for its turn to be decoded, each place once, is most of a full pod's memory.
    files = [cast(io.BytesIO, file.stream).getvalue() for file in request.files.getlist(FIELD)]
    if len(files) > max_pictures:
        raise Problem(TOO_LARGE, f"{len(files)} pictures were sent; at most {max_pictures} fit in one request.")
    if files:
        if b"" in files:
            index = files.index(b"") if len(files) > 1 else None
            raise Problem(NO_PICTURE, "The file is empty. Choose a picture and send it again.", index=index)
        return files
    if FIELD in request.form:
        raise Problem(
            NO_PICTURE,
            f"The field '{FIELD}' holds text, not a file. With curl, write -F {FIELD}=@photo.jpg (with the @).",
        )
    if request.files:
        raise Problem(NO_PICTURE, f"The file is in a field of another name. Send it in the field '{FIELD}'.")
    raise Problem(NO_PICTURE, f"The form holds no file. {HOW_TO}")


def drain(response: Response) -> Response:
    """Read what is left of a refused upload once the answer is out.

    Most clients send all before they read, and lose an answer whose connection is closed on them.
    """
    stream, connection = request.environ["wsgi.input"], request.environ.get("gunicorn.socket")

    def discard() -> None:
        left = DRAIN_BYTES
        # Of an upload that breaks off, or is not what it says, nothing more needs to be known.
        with contextlib.suppress(Exception), deadlines.limit(connection, DRAIN_SECONDS):
            while left > 0 and (data := stream.read(65536)):
                left -= len(data)

    if response.status_code >= 400 and connection is not None:
        response.call_on_close(discard)
    return response

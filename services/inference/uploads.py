"""Read the images of a request."""

import contextlib
import io
from collections.abc import Callable
from typing import IO

import gevent
from flask import Response, request
from multipart import MultipartParser, MultipartPart, ParserError, ParserLimitReached
from werkzeug.exceptions import RequestEntityTooLarge

from services.inference.problems import BROKEN_UPLOAD, NO_IMAGE, NOT_AN_IMAGE, TOO_LARGE, UPLOAD_TIMEOUT, Problem
from services.inference.settings import Settings

FIELD = "file"
MULTIPART = "multipart/form-data"
HOW_TO = f"Send it as the multipart field '{FIELD}', or as the request body with Content-Type: image/…."
CHUNK = 65536
MAX_PARTS = 1000
DISCARD_SECONDS = 2.0
DISCARD_BYTES = 64 * 2**20


class _Body(io.RawIOBase):
    """The request's body, which counts its bytes while they are read."""

    def __init__(self, stream: IO[bytes], take: Callable[[int], None]) -> None:
        self._stream, self._take = stream, take
        self.received = 0

    def read(self, size: int = CHUNK) -> bytes:
        if self.received >= CHUNK:
            gevent.sleep(0)  # others may run between the chunks of a large upload
        data = self._stream.read(min(size, CHUNK))
        self._take(len(data))
        self.received += len(data)
        return data


def read_images(settings: Settings, take: Callable[[int], None]) -> list[bytes]:
    """Read the encoded images of the current request, at least one, in order.

    Args:
        settings: Limits of uploads.
        take: Reserves so many bytes of memory; raises ``Problem`` when there is too little.

    Raises:
        Problem: There is no image, too much data, an unknown form, an incomplete upload, or it took too long.
        RequestEntityTooLarge: The body exceeds the limit of bytes.
    """
    body = _Body(request.stream, take)
    timeout = Problem(UPLOAD_TIMEOUT, f"An upload may take {settings.upload_timeout} s. Send a smaller image.")
    incomplete = Problem(BROKEN_UPLOAD, "Less arrived than was announced. Send the request again.")
    parts: list[MultipartPart] = []
    with gevent.Timeout(settings.upload_timeout, timeout):
        try:
            if request.mimetype == MULTIPART:
                with contextlib.suppress(ParserError):  # an invalid form holds no file
                    parts = list(_parser(body, settings.max_upload_bytes))
            rest = b"".join(iter(body.read, b""))
        except ParserLimitReached:
            raise RequestEntityTooLarge from None
        except (Problem, RequestEntityTooLarge):
            raise
        except Exception as error:  # gunicorn has a class of its own for each fault of a chunked body
            raise incomplete from error
    if body.received < (request.content_length or 0):
        raise incomplete
    return _form_images(parts, settings.max_pictures) if request.mimetype == MULTIPART else [_raw_image(rest)]


def _parser(body: _Body, size: int) -> MultipartParser:
    # Parts of any size stay in memory: a read-only container has no place for temporary files.
    boundary = request.mimetype_params.get("boundary", "")
    # File names may have any encoding, and are not used.
    limits = {"part_limit": MAX_PARTS, "spool_limit": size, "memory_limit": size}
    return MultipartParser(body, boundary, charset="latin-1", **limits)


def _raw_image(body: bytes) -> bytes:
    if not body:
        raise Problem(NO_IMAGE, f"The request is empty. {HOW_TO}")
    kind = request.mimetype
    if not (kind.startswith("image/") or kind in ("application/octet-stream", "")):
        raise Problem(NOT_AN_IMAGE, f"A body of Content-Type {kind} is not read as an image. {HOW_TO}")
    return body


def _form_images(parts: list[MultipartPart], most: int) -> list[bytes]:
    # RFC 7578 does not require a file name.
    files = [part for part in parts if part.filename is not None or not part.raw.isascii()]
    images = [part.raw for part in files if part.name == FIELD]
    if len(images) > most:
        raise Problem(TOO_LARGE, f"The form holds {len(images)} images; at most {most} fit in one request.")
    if b"" in images:
        index = images.index(b"") if len(images) > 1 else None
        raise Problem(NO_IMAGE, "The file is empty. Choose an image and send it again.", index=index)
    if images:
        return images
    if any(part.name == FIELD for part in parts):
        detail = f"The field '{FIELD}' holds text, not a file. With curl, write -F {FIELD}=@photo.jpg (with the @)."
    elif files:
        detail = f"The file is in a field of another name. Send it in the field '{FIELD}'."
    else:
        detail = f"The form holds no file. {HOW_TO}"
    raise Problem(NO_IMAGE, detail)


def discard_rest(response: Response) -> Response:
    """Read the rest of a refused upload after the answer.

    Most clients send everything before they read, and lose an answer when the connection closes earlier.
    """
    stream = request.environ["wsgi.input"]

    def discard() -> None:
        left = DISCARD_BYTES
        with contextlib.suppress(Exception), gevent.Timeout(DISCARD_SECONDS, False):
            while left > 0 and (data := stream.read(CHUNK)):
                left -= len(data)

    if response.status_code >= 400:
        response.call_on_close(discard)
    return response

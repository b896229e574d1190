"""Read the images of a request."""

import contextlib
import io
import re
from collections.abc import Callable
from typing import IO

import gevent
from flask import Response, request
from multipart import MultipartParser, MultipartPart, ParserError, ParserLimitReached
from werkzeug.exceptions import RequestEntityTooLarge

from bundle.preprocess import SIGNATURES
from services.inference.problems import (
    BROKEN_IMAGE,
    BROKEN_UPLOAD,
    NO_IMAGE,
    NOT_AN_IMAGE,
    TOO_LARGE,
    UPLOAD_TIMEOUT,
    Problem,
)
from services.inference.settings import Settings
from services.inference.uploads import base64_images

FIELD = "file"
MULTIPART = "multipart/form-data"
URL_ENCODED = "application/x-www-form-urlencoded"
HOW_TO = f"Send it as the multipart field '{FIELD}', as the request body, or as base64 in JSON."
# The first line of a form, and a header after it. Programs that set Content-Type by hand leave the boundary out, or
# name another one than the body has.
FORM_START = re.compile(rb"--([^\r\n]{1,200}?)[ \t]*\r?\n[\w-]+:")
CHUNK = 65536
MAX_PARTS = 1000
DISCARD_SECONDS = 2.0
DISCARD_BYTES = 64 * 2**20


class _Body(io.RawIOBase):
    """The request's body, which counts its bytes while they are read."""

    def __init__(self, stream: IO[bytes], take: Callable[[int], None]) -> None:
        self._stream, self._take = stream, take
        self._first = b""
        self.received = 0

    def peek(self) -> bytes:
        """Return the first chunk, which the next ``read`` returns again."""
        self._first = self.read()
        return self._first

    def read(self, size: int = CHUNK) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
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
    fault = ""
    with gevent.Timeout(settings.upload_timeout, timeout):
        try:
            boundary = _boundary(body.peek())
            if boundary is not None:
                try:
                    parts = list(_parser(body, boundary, settings.max_upload_bytes))
                except ParserError as error:
                    fault = str(error)
            rest = b"".join(iter(body.read, b""))
        except ParserLimitReached:
            raise RequestEntityTooLarge from None
        except (Problem, RequestEntityTooLarge):
            raise
        except Exception as error:  # gunicorn has a class of its own for each fault of a chunked body
            raise incomplete from error
    if body.received < (request.content_length or 0):
        raise incomplete
    if fault:
        raise Problem(NO_IMAGE, f"The form cannot be read ({fault}). Let your HTTP library write the whole form.")
    images = _form_images(parts) if boundary is not None else _body_images(rest)
    if len(images) > settings.max_pictures:
        raise Problem(TOO_LARGE, f"{len(images)} images were sent; at most {settings.max_pictures} fit in one request.")
    return images


def _boundary(start: bytes) -> str | None:
    """Return the boundary of a form, or None for another body."""
    found = FORM_START.match(start)
    if found:
        return found[1].decode("latin-1")
    boundary = request.mimetype_params.get("boundary", "")
    # An image sent as a form is still an image, unless it only stands before the form.
    if request.mimetype != MULTIPART or (SIGNATURES.match(start) and f"--{boundary}".encode() not in start):
        return None
    if not boundary:
        detail = "The Content-Type lacks the form's boundary. Do not set this header by hand: HTTP libraries do."
        raise Problem(NO_IMAGE, detail)
    return boundary


def _parser(body: _Body, boundary: str, size: int) -> MultipartParser:
    # Parts of any size stay in memory: a read-only container has no place for temporary files.
    # File names may have any encoding, and are not used.
    limits = {"part_limit": MAX_PARTS, "spool_limit": size, "memory_limit": size}
    return MultipartParser(body, boundary, charset="latin-1", **limits)


def _body_images(body: bytes) -> list[bytes]:
    if not body:
        raise Problem(NO_IMAGE, f"The request is empty. {HOW_TO}")
    if base64_images.is_json(body):
        return base64_images.read_json(body)
    kind = request.mimetype
    if kind == URL_ENCODED and not body[:CHUNK].isascii() and not re.search(rb"[\0\r\n]", body):
        detail = "curl -d removes bytes from a file. Write --data-binary @photo.jpg, or -F file=@photo.jpg."
        raise Problem(BROKEN_IMAGE, detail)
    image = base64_images.read_text(body)
    if image.startswith(b"data:"):
        raise Problem(NO_IMAGE, f"The body is a data URL, but its data is not base64. {HOW_TO}")
    if image[:CHUNK].isascii() and not (kind.startswith("image/") or kind in ("application/octet-stream", "")):
        raise Problem(NOT_AN_IMAGE, f"The body of Content-Type {kind} is text, not an image. {HOW_TO}")
    return [image]


def _form_images(parts: list[MultipartPart]) -> list[bytes]:
    fields = [(part, base64_images.read_text(part.raw)) for part in parts]
    # RFC 7578 does not require a file name.
    files = [(part.name, data) for part, data in fields if part.filename is not None or not data.isascii()]
    names = list(dict.fromkeys(name for name, _ in files))
    if FIELD in names or len(names) == 1:
        images = [data for name, data in files if name == (FIELD if FIELD in names else names[0])]
        if b"" in images:
            index = images.index(b"") if len(images) > 1 else None
            raise Problem(NO_IMAGE, "The file is empty. Choose an image and send it again.", index=index)
        return images
    if names:
        some = ", ".join(name[:50] for name in names[:5])
        detail = f"The form has files in several fields ({some}). Send images in the field '{FIELD}'."
    elif parts:
        detail = f"The form has text, but no file. With curl, write -F {FIELD}=@photo.jpg (with the @)."
    else:
        detail = f"The form has no file. {HOW_TO}"
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

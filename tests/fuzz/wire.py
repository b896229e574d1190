"""Hostile requests, byte for byte."""

import base64
import contextlib
import json
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests import drawn_images

PICTURE = drawn_images.plain()
PATIENCE = 30  # seconds, far more than any answer takes
STATUS = re.compile(rb"HTTP/1\.\d (\d{3}) [^\r\n]*\r\n")  # gunicorn answers in the version it was asked in
BOUNDARY = b"frontier"
FORM = b"multipart/form-data; boundary=" + BOUNDARY


@dataclass
class Answer:
    """One HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> Any:
        """Parse the problem document."""
        assert self.headers["content-type"] == "application/problem+json", self
        return json.loads(self.body)


def exchange(port: int, request: bytes) -> list[Answer]:
    """Send bytes and the end, and return all answers until the service closes the connection."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        with contextlib.suppress(OSError):  # refused before all was sent
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(65536):
                received += data
    return parse(received)


def parse(received: bytes) -> list[Answer]:
    """Split the bytes of a connection into answers."""
    answers = []
    while received:
        head, end, rest = received.partition(b"\r\n\r\n")
        started = STATUS.match(head + b"\r\n")
        assert started and end, f"no HTTP response: {received[:200]!r}"
        lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
        headers = {name.decode().lower(): value.strip().decode("latin-1") for name, _, value in lines}
        length = int(headers.get("content-length", len(rest)))
        answers.append(Answer(int(started[1]), headers, rest[:length]))
        received = rest[length:]
    return answers


def post(
    body: bytes = PICTURE,
    *headers: bytes,
    kind: bytes = b"image/jpeg",
    length: bytes | None = None,
) -> bytes:
    """A request to classify; ``length`` replaces the true length, and an empty one omits the header."""
    length = str(len(body)).encode() if length is None else length
    lines = [b"POST /predict HTTP/1.1", b"Host: x", b"Connection: close", b"Content-Type: " + kind, *headers]
    lines += [b"Content-Length: " + length] if length else []
    return b"\r\n".join([*lines, b"", body])


def part(disposition: bytes, data: bytes = PICTURE, *headers: bytes) -> bytes:
    """One part of a form."""
    lines = [b"--" + BOUNDARY, b"Content-Disposition: " + disposition, *headers, b"", data]
    return b"\r\n".join(lines) + b"\r\n"


def form(*parts: bytes, end: bytes = b"--" + BOUNDARY + b"--\r\n", kind: bytes = FORM) -> bytes:
    """A request with a form made of these parts."""
    return post(b"".join(parts) + end, kind=kind)


def named(name: bytes) -> bytes:
    """A form whose file has that name."""
    return form(part(b'form-data; name="file"; filename="' + name + b'"'))


def chunked(body: bytes, *headers: bytes, coding: bytes = b"Transfer-Encoding: chunked") -> bytes:
    """A chunked request with this body as it goes over the wire."""
    return post(body, coding, *headers, length=b"")


def get(path: bytes) -> bytes:
    """A request without a body."""
    return b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def pieces(data: bytes, size: int) -> bytes:
    """A body in well-formed chunks of a size."""
    cut = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in cut) + b"0\r\n\r\n"


SMUGGLED = get(b"/health")
FILE = b'form-data; name="file"; filename="cat.jpg"'
GOOD = part(FILE)

Requests = dict[str, Callable[[], bytes]]

FILE_NAMES: Requests = {
    name: lambda value=value: named(value)
    for name, value in {
        "a path": b"../../etc/passwd",
        "a Windows path": b"..\\..\\boot.ini",
        "NUL": b"cat\0.jpg",
        "an encoded line break": b"cat%0d%0aX-Evil: 1.jpg",
        "a script": b"<script>alert(1)</script>",
        "another quote": b'a\\"; name=\\"b.jpg',
        "format": b"%s%n{0.__class__}${jndi:ldap://x}",
        "right to left": "cat\u202egpj.exe".encode(),
    }.items()
}
"""A good image under a strange file name: 200."""

ODD: Requests = {
    "a JPEG that is called PDF": lambda: post(kind=b"application/octet-stream"),
    "the field twice": lambda: form(GOOD, GOOD),
    "other fields around it": lambda: form(part(b'form-data; name="x"', b"y"), GOOD, part(b'form-data; name="z"', b"")),
    "a preamble": lambda: form(b"This is a form.\r\n" + GOOD),
    "an epilogue": lambda: form(GOOD, end=b"--frontier--\r\nGoodbye"),
    "the boundary inside the picture": lambda: form(part(FILE, PICTURE + b"--frontier")),
    "one-byte chunks": lambda: chunked(pieces(PICTURE, 1)),
    "chunk extensions": lambda: chunked(pieces(PICTURE, 700).replace(b"\r\n", b";a=b\r\n", 1)),
    "trailers": lambda: chunked(pieces(PICTURE, 700)[:-2] + b"X-Trailer: 1\r\n\r\n"),
    "a hundred headers of a kilobyte, almost": lambda: post(PICTURE, *[b"X-%d: " % n + b"a" * 500 for n in range(80)]),
    "no boundary": lambda: form(GOOD, kind=b"multipart/form-data"),
    "an empty boundary": lambda: form(GOOD, kind=b"multipart/form-data; boundary="),
    "a field of another name": lambda: form(part(b'form-data; name="picture"; filename="a"')),
    "the boundary of another form": lambda: form(GOOD, kind=b"multipart/form-data; boundary=copied"),
    "a form that is called an image": lambda: form(GOOD, kind=b"image/jpeg"),
    "an image that is called a form": lambda: post(kind=FORM),
    "JSON": lambda: post(b'{"image": "%b"}' % base64.b64encode(PICTURE), kind=b"application/json"),
    "a data URL": lambda: post(b"data:image/jpeg;base64," + base64.b64encode(PICTURE), kind=b"text/plain"),
    "a file name that is not UTF-8": lambda: named(b"\xff\xfe\xfd.jpg"),
    "a Content-Type of nonsense": lambda: post(kind=b"\xff\xfe/;;;=,"),
    "an encoded path": lambda: post().replace(b"/predict", b"/%70redict"),
    "a query": lambda: post().replace(b"/predict", b"/predict?a=%00&b[]=../&c=%s"),
    "a broken body for a route that reads none": lambda: (
        b"GET /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    ),
    "no host, in HTTP/1.0": lambda: post().replace(b"HTTP/1.1\r\nHost: x", b"HTTP/1.0"),
}
"""Unusual, but whole: 200."""

REFUSED: Requests = {
    "a form without an end": lambda: form(GOOD, end=b""),
    "a part without a disposition": lambda: form(b"--frontier\r\nContent-Type: image/jpeg\r\n\r\ncat\r\n"),
    "a million line breaks": lambda: form(b"\r\n" * 10**6),
    "ten thousand parts": lambda: form(*[part(b'form-data; name="x"', b"")] * 10_000),
    "33 pictures": lambda: form(*[GOOD] * 33),
    "a file name of 64 kB": lambda: named(b"a" * 65_536),
    "an opened form without a boundary": lambda: form(kind=b"multipart/form-data"),
    "JSON of brackets": lambda: post(b"[" * 10**6, kind=b"application/json"),
    "JSON of a million values": lambda: post(b"[" + b"[]," * 10**6 + b"1]", kind=b"application/json"),
    "JSON without an image": lambda: post(b'{"image": {"b64": {"image": [[], {}]}}}', kind=b"application/json"),
    "JSON of a long number": lambda: post(b'{"image": ' + b"9" * 10**6 + b"}", kind=b"application/json"),
    "a field that is a text": lambda: form(part(b'form-data; name="file"', b"cat")),
    "an empty file": lambda: form(part(FILE, b"")),
    "nested forms": lambda: form(part(FILE, GOOD, b"Content-Type: " + FORM)),
    "a disposition of quotes": lambda: form(part(b'form-data; name="file' + b'\\"' * 3000)),
    "a continued file name without end": lambda: form(
        part(
            b"form-data; name=file; " + b"".join(b"filename*%d*=utf-8''%%ff;" % number for number in range(2000)),
            b"cat",
        )
    ),
    "a body shorter than announced": lambda: post(length=b"100000"),
    "a body longer than anything": lambda: post(length=b"9" * 40),
    "a body over the limit": lambda: post(length=b"99999999"),
    "a chunk of no number": lambda: chunked(b"cat\r\nmeow\r\n0\r\n\r\n"),
    "a chunk size with underscores": lambda: chunked(b"0_5\r\nhello\r\n0\r\n\r\n"),
    "a chunk longer than announced": lambda: chunked(b"2\r\nhello\r\n0\r\n\r\n"),
    "chunks without an end": lambda: chunked(pieces(PICTURE, 500)[:-5]),
    "a chunk extension of a megabyte": lambda: chunked(b"5;" + b"a" * 2**20 + b"\r\nhello\r\n0\r\n\r\n"),
    "trailers of a megabyte": lambda: chunked(b"3\r\ncat\r\n0\r\n" + b"X-Trailer: a\r\n" * 70_000 + b"\r\n"),
    "an unknown coding of the content": lambda: post(b"\x1f\x8b" + bytes(20), b"Content-Encoding: gzip"),
    "a path with NUL": lambda: get(b"/\0"),
    "a path of bytes that are no UTF-8": lambda: get(b"/%ff%fe"),
}
"""Broken or too much: the app answers with a problem."""

MALFORMED: Requests = {
    "a negative length": lambda: post(length=b"-5"),
    "a length with a sign": lambda: post(length=b"+5"),
    "two lengths": lambda: post(PICTURE, b"Content-Length: 5"),
    "chunked, twice": lambda: chunked(pieces(PICTURE, 500), b"Transfer-Encoding: chunked"),
    "a header of 60 kB": lambda: post(PICTURE, b"X-Long: " + b"a" * 60_000),
    "a header with a space in its name": lambda: post(PICTURE, b"X None: a"),
    "a header with NUL": lambda: post(PICTURE, b"X-Nul: a\0b"),
    "a header with a bare line feed": lambda: post(PICTURE, b"X-A: a\nX-B: b"),
    "a folded header": lambda: post(PICTURE, b"X-A: a", b" b"),
    "a wish for more": lambda: post(PICTURE, b"Expect: 200-maybe"),
    "HTTP/2": lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9.9": lambda: post().replace(b"HTTP/1.1", b"HTTP/9.9"),
    "TLS": lambda: b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
    "nothing but NUL": lambda: bytes(1000) + b"\r\n\r\n",
}
"""Not HTTP, or ambiguous: gunicorn answers or closes the connection."""

_AMBIGUOUS: Requests = {
    "a length and chunks": lambda: post(b"0\r\n\r\n" + SMUGGLED, b"Transfer-Encoding: chunked"),
    "a length too short and chunks": lambda: chunked(b"0\r\n\r\n" + SMUGGLED, b"Content-Length: 3"),
    "two lengths": lambda: post(SMUGGLED, b"Content-Length: 0"),
    "chunked with a space before the colon": lambda: chunked(SMUGGLED, coding=b"Transfer-Encoding : chunked"),
    "chunked with a vertical tab": lambda: chunked(SMUGGLED, coding=b"Transfer-Encoding: \x0bchunked"),
    "chunked, almost": lambda: chunked(SMUGGLED, coding=b"Transfer-Encoding: xchunked"),
    "chunked in quotes": lambda: chunked(SMUGGLED, coding=b'Transfer-Encoding: "chunked"'),
    "chunked before identity": lambda: chunked(SMUGGLED, coding=b"Transfer-Encoding: chunked, identity"),
    "chunked with an underscore": lambda: post(SMUGGLED, b"Transfer_Encoding: chunked"),
    "chunked behind a bare line feed": lambda: post(SMUGGLED, b"X-A: a\nTransfer-Encoding: chunked"),
    "a chunk that ends with a bare line feed": lambda: chunked(b"3\ncat\n0\n\n" + SMUGGLED),
    "a request in the trailers": lambda: chunked(b"0\r\n" + SMUGGLED),
}
SMUGGLING: Requests = {
    name: lambda make=make: make().replace(b"Connection: close", b"Connection: keep-alive", 1)
    for name, make in _AMBIGUOUS.items()
}
"""Where the request ends is ambiguous: one answer at most, and none to the request behind."""

_CHUNKED = b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
UNFINISHED: Requests = {
    "a chunk of no number": lambda: _CHUNKED % b"/predict" + b"zz\r\nhello\r\n",
    "a chunk longer than announced": lambda: _CHUNKED % b"/predict" + b"2\r\nhello\r\n",
    "a chunk that stops": lambda: _CHUNKED % b"/nothing" + b"ff\r\nhello",
}
"""The body ends nowhere: the connection ends with the answer."""

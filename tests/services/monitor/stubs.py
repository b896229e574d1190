"""HTTP servers that fail in one chosen way; the others in these tests are real."""

import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

Respond = Callable[[BaseHTTPRequestHandler, bytes], None]

ANSWER = {
    "label": "cat",
    "confidence": 0.9,
    "probabilities": {"cat": 0.9, "dog": 0.1},
    "model": {"name": "stub", "version": "7"},
}

# A time limit that ends amid a finaliser is lost there, reported, and comes again.
FINALISERS_MAY_LOSE_EXCEPTIONS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@contextlib.contextmanager
def serving(respond: Respond, port: int = 0) -> Iterator[str]:
    """Call ``respond`` with every request and its body until the block ends; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            respond(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

        do_GET = do_PATCH = do_PUT = do_POST  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(handler: BaseHTTPRequestHandler, status: int, body: object, kind: str = "application/json") -> None:
    """Send a whole response; a body that is not bytes becomes JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    start(handler, status, {"Content-Type": kind, "Content-Length": str(len(data))})
    handler.wfile.write(data)


def start(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
    """Send a status and headers."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()


def always(status: int, body: object, kind: str = "application/json") -> Respond:
    """Respond to everything alike."""
    return lambda handler, _body: answer(handler, status, body, kind)


@contextlib.contextmanager
def dripping(status: int = 200) -> Iterator[str]:
    """Send a byte now and then, so that no single read times out."""
    over = threading.Event()

    def drip(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
        start(handler, status, {"Content-Length": "100000"})
        with contextlib.suppress(OSError):
            while not over.wait(0.05):
                handler.wfile.write(b" ")

    with serving(drip) as address:
        try:
            yield address
        finally:
            over.set()


@contextlib.contextmanager
def dying(target: str, after: int) -> Iterator[str]:
    """Forward so many requests to ``target``, and break off before the last one's response."""
    numbers = itertools.count(1)

    def respond(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        number = next(numbers)
        if number <= after:
            response = _forward(target, handler, body)
        if number < after:
            _back(handler, response)

    with serving(respond) as address:
        yield address


def relay(target: str, host: str | None = None) -> Respond:
    """Forward everything to ``target``, under another Host header if one is given."""
    return lambda handler, body: _back(handler, _forward(target, handler, body, host))


def _forward(target: str, handler: BaseHTTPRequestHandler, body: bytes, host: str | None = None) -> requests.Response:
    headers = {"Content-Type": handler.headers.get("Content-Type", "application/json")} | (
        {"Host": host} if host else {}
    )
    return requests.request(handler.command, f"{target}{handler.path}", data=body, headers=headers, timeout=30)


def _back(handler: BaseHTTPRequestHandler, response: requests.Response) -> None:
    answer(handler, response.status_code, response.content, response.headers.get("Content-Type", "text/plain"))

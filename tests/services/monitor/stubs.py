"""HTTP servers that misbehave in one chosen way; the well-behaved ones of these tests are real."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

Respond = Callable[[BaseHTTPRequestHandler, bytes], None]

ANSWER = {
    "label": "cat",
    "confidence": 0.9,
    "probabilities": {"cat": 0.9, "dog": 0.1},
    "model": {"name": "stub", "version": "7"},
}


@contextlib.contextmanager
def serving(respond: Respond, port: int = 0) -> Iterator[str]:
    """Serve on a free port; every request goes to ``respond`` with its body. Gives the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            respond(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

        do_GET = do_PATCH = do_PUT = do_POST  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(handler: BaseHTTPRequestHandler, status: int, body: object, kind: str = "application/json") -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def always(status: int, body: object, kind: str = "application/json") -> Respond:
    return lambda handler, _body: answer(handler, status, body, kind)


@contextlib.contextmanager
def dripping() -> Iterator[str]:
    """A server that sends a byte now and then, so that no single read ever times out."""
    over = threading.Event()

    def drip(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
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
    """A way to ``target`` that passes so many requests, and breaks off before it hands back the last one's answer."""
    lock = threading.Lock()
    seen = 0

    def respond(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        nonlocal seen
        with lock:
            seen += 1
            number = seen
        if number > after:
            return
        response = _forward(target, handler, body)
        if number < after:
            _back(handler, response)

    with serving(respond) as address:
        yield address


def relay(target: str, host: str | None = None) -> Respond:
    """Pass everything on to ``target``, under another Host header if one is given."""
    return lambda handler, body: _back(handler, _forward(target, handler, body, host))


def _forward(target: str, handler: BaseHTTPRequestHandler, body: bytes, host: str | None = None) -> requests.Response:
    headers = {"Content-Type": handler.headers.get("Content-Type", "application/json")} | (
        {"Host": host} if host else {}
    )
    return requests.request(handler.command, f"{target}{handler.path}", data=body, headers=headers, timeout=30)


def _back(handler: BaseHTTPRequestHandler, response: requests.Response) -> None:
    answer(handler, response.status_code, response.content, response.headers.get("Content-Type", "text/plain"))

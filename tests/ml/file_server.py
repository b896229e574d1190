"""A real HTTP server of one file, with the habits and mishaps that servers have."""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What is served, and how; a test changes it while the server runs."""

    content: bytes
    address: str = ""
    etag: bool = True
    date: str | None = None
    ranges: bool = True
    minds_if_range: bool = True
    says_length: bool = True
    cuts: list[int] = field(default_factory=list)
    """For each answer to come, after how many bytes the connection is cut."""
    stalled: threading.Event | None = None
    """If set, the answers stop half-way until it is."""
    asked: list[str | None] = field(default_factory=list)
    """The Range header of each request."""
    sent: int = 0

    def validators(self) -> dict[str, str]:
        found = {"ETag": f'"{hashlib.sha256(self.content).hexdigest()[:16]}"'} if self.etag else {}
        return found | ({"Last-Modified": self.date} if self.date else {})


@contextlib.contextmanager
def serving(content: bytes) -> Iterator[Served]:
    """Serve until the block ends."""
    served = Served(content)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            served.asked.append(wanted)
            if self.path != "/archive.zip":
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and served.ranges else 0
            matches = self.headers.get("If-Range") in served.validators().values()
            if served.minds_if_range and not matches:
                start = 0
            if start and start >= len(served.content):
                self.send_error(416)
                return
            body = served.content[start:]
            self.send_response(206 if start else 200)
            for name, value in served.validators().items():
                self.send_header(name, value)
            if start:
                total = len(served.content)
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            self.close_connection = True
            if served.says_length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            body = body[: served.cuts.pop(0)] if served.cuts else body
            served.sent += len(body)
            with contextlib.suppress(ConnectionError):
                half = len(body) // 2 if served.stalled else 0
                self.wfile.write(body[:half])
                if served.stalled:
                    served.stalled.wait()
                self.wfile.write(body[half:])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served.address = f"http://127.0.0.1:{server.server_port}/archive.zip"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()

"""One keep-alive connection of the load generator, on a non-blocking socket."""

import contextlib
import re
import selectors
import socket
import time

from benchmarks.load.result import LOST

CHUNK = 65536
BOTH = selectors.EVENT_READ | selectors.EVENT_WRITE
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)


class Connection:
    """A connection that opens with the first request, and again after the server closed it.

    Attributes:
        begun: Start of the latest request, as ``time.perf_counter`` gives it.
        ended: End of the latest response.
    """

    def __init__(self, address: tuple[str, int], selector: selectors.BaseSelector) -> None:
        self._address = address
        self._selector = selector
        self._socket: socket.socket | None = None
        self._unsent = memoryview(b"")
        self._response = b""
        self._waiting = False
        self.begun = self.ended = 0.0

    def send(self, request: bytes, begun: float) -> None:
        """Start to send a request, head and body, whose latency counts from ``begun``."""
        self.begun, self._response, self._waiting = begun, b"", True
        self._unsent = memoryview(request)
        if self._socket is None:
            self._socket = socket.socket()
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            self._socket.connect_ex(self._address)
            self._selector.register(self._socket, BOTH, self)
        else:
            self._write()
            if self._unsent:
                self._selector.modify(self._socket, BOTH, self)

    def proceed(self) -> int | None:
        """Send and read without waiting; return the status of a complete response, ``LOST``, or None."""
        if self._socket is None:
            return None
        if self._unsent:
            self._write()
            if not self._unsent:
                self._selector.modify(self._socket, selectors.EVENT_READ, self)
        try:
            data = self._socket.recv(CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            self.close()
            return self._end(LOST) if self._waiting else None
        self._response += data
        return self._status()

    def _write(self) -> None:
        assert self._socket
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            # The server refused the request before it read the body: the response may have arrived all the same.
            self._unsent = memoryview(b"")

    def _status(self) -> int | None:
        head, end, body = self._response.partition(b"\r\n\r\n")
        if not end:
            return None
        head += b"\r\n"
        length = LENGTH.search(head)
        if length is None:
            raise ValueError(f"A response without Content-Length cannot be measured: {head[:200]!r}")
        if len(body) < int(length[1]):
            return None
        if self._unsent or CLOSES.search(head):
            self.close()
        return self._end(int(head.split(maxsplit=2)[1]))

    def _end(self, status: int) -> int:
        self._waiting = False
        self.ended = time.perf_counter()
        return status

    def close(self) -> None:
        """Close the socket; the next request opens a new one."""
        if self._socket is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None

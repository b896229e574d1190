"""One keep-alive connection of the load generator: sends a request, reads the answer, waits for neither."""

import contextlib
import re
import selectors
import socket
import time

LOST = 0  # in place of a status: the connection ended before the answer did
CHUNK = 65536
BOTH = selectors.EVENT_READ | selectors.EVENT_WRITE
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)


class Connection:
    """Opens itself with the first request, and again whenever the server has closed it."""

    def __init__(self, address: tuple[str, int], selector: selectors.BaseSelector) -> None:
        self._address = address
        self._selector = selector
        self._socket: socket.socket | None = None
        self._unsent = memoryview(b"")
        self._answer = b""
        self._asked = False
        self.begun = self.since = 0.0

    def ask(self, request: bytes, begun: float) -> None:
        """Start to send a request.

        Args:
            request: Head and body.
            begun: From when on its time counts, as ``time.perf_counter`` gives it.
        """
        self.begun, self._answer, self._asked = begun, b"", True
        self._unsent = memoryview(request)
        if self._socket is None:
            self._socket = socket.socket()
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            self._socket.connect_ex(self._address)
            self._selector.register(self._socket, BOTH, self)
        else:
            self._send()
            if self._unsent:
                self._selector.modify(self._socket, BOTH, self)

    def proceed(self) -> int | None:
        """Send and read as much as goes; gives the status once the whole answer is there, or ``LOST``."""
        if self._socket is None:
            return None
        if self._unsent:
            self._send()
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
            return self._end(LOST) if self._asked else None
        self._answer += data
        return self._status()

    def _send(self) -> None:
        assert self._socket
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            # Refused before the body was read: the answer may be there all the same.
            self._unsent = memoryview(b"")

    def _status(self) -> int | None:
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end:
            return None
        head += b"\r\n"
        length = LENGTH.search(head)
        if length is None:
            raise ValueError(f"An answer without Content-Length cannot be measured: {head[:200]!r}")
        if len(body) < int(length[1]):
            return None
        if self._unsent or CLOSES.search(head):
            self.close()
        return self._end(int(head.split(maxsplit=2)[1]))

    def _end(self, status: int) -> int:
        self._asked = False
        self.since = time.perf_counter()
        return status

    def close(self) -> None:
        """Let go; the next request opens it anew."""
        if self._socket is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None

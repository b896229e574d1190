"""Ends uploads that never end: gunicorn's threaded worker waits for a silent or dripping client for ever."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

CHECK_EVERY = 0.5


class Deadlines:
    """One thread per process that shuts the receiving side of connections whose time is up."""

    def __init__(self) -> None:
        self._open: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None

    @contextlib.contextmanager
    def limit(self, connection: socket.socket | None, seconds: float) -> Iterator[None]:
        """Let reading from ``connection`` end as if the client had closed it once ``seconds`` have passed."""
        if connection is None:  # not under gunicorn
            yield
            return
        self._start()
        self._open[connection] = time.monotonic() + seconds
        try:
            yield
        finally:
            self._open.pop(connection, None)

    def _start(self) -> None:
        # At the first use and not at the start: a thread does not survive gunicorn's fork.
        if self._watcher is None:
            with self._lock:
                if self._watcher is None:
                    self._watcher = threading.Thread(target=self._watch, name="deadlines", daemon=True)
                    self._watcher.start()

    def _watch(self) -> None:
        while True:
            time.sleep(CHECK_EVERY)
            now = time.monotonic()
            for connection, deadline in list(self._open.items()):
                if now > deadline:
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_RD)

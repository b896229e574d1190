"""Ends uploads that never end: gunicorn's threaded worker waits for a silent or dripping client for ever."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

CHECK_EVERY = 0.5
PATIENCE = 3.0  # seconds that an upload may take while others wait for its place


@dataclass(eq=False)
class Upload:
    """What is being read from a connection."""

    connection: socket.socket | None  # none where gunicorn is not
    since: float
    until: float
    ended: bool = False

    def end(self) -> None:
        """Let reading end as if the client had closed the connection."""
        self.ended = True
        if self.connection:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RD)


class Deadlines:
    """One thread per process that shuts the receiving side of connections whose time is up."""

    def __init__(self) -> None:
        self._open: set[Upload] = set()
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None

    @contextlib.contextmanager
    def limit(self, connection: socket.socket | None, seconds: float) -> Iterator[Upload]:
        """Let reading from ``connection`` end once ``seconds`` have passed; what is given tells whether it did."""
        self._start()
        now = time.monotonic()
        upload = Upload(connection, now, now + seconds)
        self._open.add(upload)
        try:
            yield upload
        finally:
            self._open.discard(upload)

    def hurry(self) -> bool:
        """End the uploads that have taken longer than ``PATIENCE``; gives whether there were any."""
        return self._end(time.monotonic() - PATIENCE, float("-inf"))

    def _end(self, begun_before: float, due_before: float) -> bool:
        late = [one for one in self._open.copy() if one.since < begun_before or one.until < due_before]
        for upload in late:
            upload.end()
        return bool(late)

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
            self._end(float("-inf"), time.monotonic())

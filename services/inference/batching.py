"""Requests that wait for the processor are computed in one run of the model; none waits for others to come."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

MOST_PICTURES = 4  # in one run; more hardly cost less each, and the first would wait for the last

Rows = tuple[NDArray[np.float32], NDArray[np.bool_] | None]


@dataclass(eq=False)
class _Request:
    pictures: list[bytes]
    wake: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    rows: Rows | None = None
    error: BaseException | None = None

    @property
    def done(self) -> bool:
        return self.rows is not None or self.error is not None


class Batcher:
    """Lets one thread at a time compute, for itself and for those that wait.

    Workers are as many as processors: two computing threads in one would take another's. A thread that waits sleeps
    until its answer is there or it is the one to compute, after Hendler et al. 2010, "Flat Combining and the
    Synchronization-Parallelism Tradeoff".
    """

    def __init__(
        self, decode: Callable[[list[bytes]], NDArray[np.uint8]], run: Callable[[NDArray[np.uint8]], Rows]
    ) -> None:
        """Say how to compute.

        Args:
            decode: Gives the pixels of a request's pictures, shape ``(n, size, size, 3)``; may raise.
            run: Gives for such pixels rows of probabilities and, or None, whether each is uncertain.
        """
        self._decode, self._run = decode, run
        self._lock = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._busy = False

    def answer(self, pictures: list[bytes]) -> Rows:
        """Give the rows of one request's pictures.

        Raises:
            Exception: Whatever decoding these, or running the model, raised.
        """
        request = _Request(pictures)
        with self._lock:
            self._waiting.append(request)
            wait, self._busy = self._busy, True
        if wait:
            request.wake.acquire()
        if not request.done:
            self._compute()
        if request.error:
            raise request.error
        assert request.rows is not None
        return request.rows

    def _compute(self) -> None:
        """Answer this thread's request, which is the first, and those behind it; then have the next thread do so."""
        batch = self._take()
        try:
            self._fill(batch)
        except BaseException as error:
            for request in batch:
                request.error = request.error or error
        finally:
            with self._lock:
                following = self._waiting[0] if self._waiting else None
                self._busy = following is not None
            for request in ([following] if following else []) + batch[1:]:
                request.wake.release()

    def _take(self) -> list[_Request]:
        with self._lock:
            batch = [self._waiting.popleft()]
            room = MOST_PICTURES - len(batch[0].pictures)
            while self._waiting and (room := room - len(self._waiting[0].pictures)) >= 0:
                batch.append(self._waiting.popleft())
        return batch

    def _fill(self, batch: list[_Request]) -> None:
        sound, pixels = [], []
        for request in batch:
            try:
                pixels.append(self._decode(request.pictures))
            except Exception as error:
                request.error = error  # its own: the others' pictures are fine
            else:
                sound.append(request)
        if not sound:
            return
        rows, uncertain = self._run(np.concatenate(pixels))
        start = 0
        for request in sound:
            part = slice(start, start + len(request.pictures))
            request.rows = rows[part], None if uncertain is None else uncertain[part]
            start = part.stop

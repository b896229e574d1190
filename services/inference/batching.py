"""Requests that wait for a processor are computed in one run of the model; none waits for others to come."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.inference.processors import Processors

MOST_PICTURES = 4  # in one run; more hardly cost less each, and the first would wait for the last

Rows = tuple[NDArray[np.float32], NDArray[np.bool_] | None]


@dataclass(eq=False)
class _Request:
    pictures: list[bytes]
    wake: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    batch: "_Batch | None" = None
    """What its thread has to compute."""
    rows: Rows | None = None
    error: BaseException | None = None


@dataclass(frozen=True)
class _Batch:
    requests: list[_Request]
    processor: int | None


class Batcher:
    """Lets threads compute, each for itself and for others that wait: one, and more on processors that are idle.

    Workers are as many as processors, and two computing threads in one would take another's; but connections stay with
    their worker, and of those that ask at the moment one worker may have all. A thread that waits sleeps until its
    answer is there or it is the one to compute, after Hendler et al. 2010, "Flat Combining and the
    Synchronization-Parallelism Tradeoff".
    """

    def __init__(
        self,
        decode: Callable[[list[bytes]], NDArray[np.uint8]],
        run: Callable[[NDArray[np.uint8]], Rows],
        processors: Processors,
    ) -> None:
        """Say how to compute, and where.

        Args:
            decode: Gives the pixels of a request's pictures, shape ``(n, size, size, 3)``; may raise.
            run: Gives for such pixels rows of probabilities and, or None, whether each is uncertain.
            processors: Those that the workers share.
        """
        self._decode, self._run, self._processors = decode, run, processors
        self._lock = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._computing = 0

    def answer(self, pictures: list[bytes]) -> Rows:
        """Give the rows of one request's pictures.

        Raises:
            Exception: Whatever decoding these, or running the model, raised.
        """
        request = _Request(pictures)
        with self._lock:
            self._waiting.append(request)
            # Where more wait, the other workers have work, too.
            if not self._computing or len(self._waiting) == 1:
                self._begin()
        request.wake.acquire()
        # A request and its batch would hold each other, and so would a request and its error, by the error's frames:
        # what is in a circle, here pictures, is only freed by the garbage collector.
        batch, request.batch = request.batch, None
        if batch:
            self._compute(batch)
        error, request.error = request.error, None
        if error:
            try:
                raise error
            finally:
                del error
        assert request.rows is not None
        return request.rows

    def _begin(self) -> None:
        """Have the first that waits compute, if there is a processor or nobody else does; the lock is held."""
        if not self._waiting:
            return
        processor = self._processors.take()
        if processor is None and self._computing:
            return
        self._computing += 1
        requests = self._take()
        requests[0].batch = _Batch(requests, processor)
        requests[0].wake.release()

    def _compute(self, batch: _Batch) -> None:
        """Answer a batch; then have the next thread compute."""
        try:
            self._fill(batch.requests)
        except BaseException as error:
            for request in batch.requests:
                request.error = request.error or error
        finally:
            with self._lock:
                self._computing -= 1
                if batch.processor is not None:
                    self._processors.give_back(batch.processor)
                if not self._computing:  # another thread of this worker goes on, and its processor may do for others
                    self._begin()
            for request in batch.requests[1:]:
                request.wake.release()

    def _take(self) -> list[_Request]:
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

"""Compute predictions in batches: queued requests share one model run."""

import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import gevent
import numpy as np
from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool
from numpy.typing import NDArray

MAX_BATCH = 4  # images; larger batches hardly cost less per image, and the first request would wait for the last

Outputs = tuple[NDArray[np.float32], NDArray[np.bool_] | None]


class _Request(NamedTuple):
    images: list[bytes]
    result: AsyncResult


class Batcher:
    """Decode and classify in native threads while greenlets wait. A request is never delayed to fill a batch."""

    def __init__(
        self,
        decode: Callable[[list[bytes]], NDArray[np.uint8]],
        run: Callable[[NDArray[np.uint8]], Outputs],
        threads: int,
    ) -> None:
        """Create a batcher for one model.

        Args:
            decode: Turns a request's images into pixels, shape ``(n, size, size, 3)``; may raise.
            run: Turns pixels into probabilities, shape ``(n, classes)``, and flags, shape ``(n,)``, or None for these.
            threads: Batches at the same time.
        """
        self._decode, self._run = decode, run
        self._queue: deque[_Request] = deque()
        self._idle = threads
        self._threads = ThreadPool(threads)

    def predict(self, images: list[bytes]) -> Outputs:
        """Classify the images of one request; raises the error of decoding them, or of the run."""
        request = _Request(images, AsyncResult())
        self._queue.append(request)
        self._start_batch()
        outputs: Outputs = request.result.get()
        return outputs

    def _start_batch(self) -> None:
        if not self._queue or not self._idle:
            return
        self._idle -= 1
        batch = [self._queue.popleft()]
        room = MAX_BATCH - len(batch[0].images)
        while self._queue and len(self._queue[0].images) <= room:
            batch.append(self._queue.popleft())
            room -= len(batch[-1].images)
        gevent.spawn(self._finish_batch, batch)

    def _finish_batch(self, batch: list[_Request]) -> None:
        outcomes = self._threads.apply(self._compute, ([request.images for request in batch],))
        self._idle += 1
        self._start_batch()
        for request, outcome in zip(batch, outcomes, strict=True):
            request.images.clear()  # an error and its frames are a reference cycle, which must not keep them
            if isinstance(outcome, Exception):
                request.result.set_exception(outcome)
            else:
                request.result.set(outcome)

    def _compute(self, batch: list[list[bytes]]) -> list[Outputs | Exception]:
        decoded = [_attempt(self._decode, images) for images in batch]
        pixels = [part for part in decoded if not isinstance(part, Exception)]
        outputs = _attempt(self._run, np.concatenate(pixels)) if pixels else None
        start = 0
        for index, part in enumerate(decoded):
            if not isinstance(part, Exception):
                own = slice(start, start := start + len(part))
                decoded[index] = outputs if isinstance(outputs, Exception) else _rows(outputs, own)
        return decoded


def _attempt(function: Callable[..., Any], argument: Any) -> Any:
    try:
        return function(argument)
    except Exception as error:
        caught: BaseException | None = error
        while caught:
            traceback.clear_frames(caught.__traceback__)  # as above
            caught = caught.__context__
        return error


def _rows(outputs: Any, own: slice) -> Outputs:
    rows, flags = outputs
    return rows[own], None if flags is None else flags[own]

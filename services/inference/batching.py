"""Compute predictions in batches: queued requests share one model run."""

import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gevent
import numpy as np
from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool
from numpy.typing import NDArray

from bundle.signals import Outputs

MAX_BATCH = 4  # images; larger batches hardly cost less per image, and the first request would wait for the last


@dataclass(eq=False)
class _Request:
    images: list[bytes]
    pixels: NDArray[np.uint8] | None = None  # of images that are decoded already
    result: AsyncResult = field(default_factory=AsyncResult)


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
            run: Turns pixels into outputs.
            threads: Batches at the same time.
        """
        self._decode, self._run = decode, run
        self._queue: deque[_Request] = deque()
        self._background: deque[_Request] = deque()
        self._idle = threads
        self._threads = ThreadPool(threads)

    def predict(self, images: list[bytes]) -> Outputs:
        """Classify the images of one request; raises the error of decoding them, or of the run."""
        return self._wait(self._queue, _Request(images))

    def decode(self, images: list[bytes]) -> NDArray[np.uint8]:
        """Decode the images of one request, for ``predict_when_idle``; raises the error of decoding them."""
        pixels = self._threads.apply(_attempt, (self._decode, images))
        if isinstance(pixels, Exception):
            images.clear()  # as below
            raise pixels
        return pixels

    def predict_when_idle(self, pixels: NDArray[np.uint8]) -> Outputs:
        """Classify decoded images while no other request waits for the model."""
        request = _Request([], pixels)
        try:
            return self._wait(self._background, request)
        finally:
            if request in self._background:  # a timeout ended the wait
                self._background.remove(request)

    def _wait(self, queue: deque[_Request], request: _Request) -> Outputs:
        queue.append(request)
        self._start_batch()
        outputs: Outputs = request.result.get()
        return outputs

    def _start_batch(self) -> None:
        queue = self._queue or self._background
        if not queue or not self._idle:
            return
        self._idle -= 1
        batch = [queue.popleft()]
        room = MAX_BATCH - len(batch[0].images)
        while self._queue and len(self._queue[0].images) <= room:
            batch.append(self._queue.popleft())
            room -= len(batch[-1].images)
        gevent.spawn(self._finish_batch, batch)

    def _finish_batch(self, batch: list[_Request]) -> None:
        outcomes = self._threads.apply(self._compute, (batch,))
        self._idle += 1
        self._start_batch()
        for request, outcome in zip(batch, outcomes, strict=True):
            request.images.clear()  # an error and its frames are a reference cycle, which must not keep them
            if isinstance(outcome, Exception):
                request.result.set_exception(outcome)
            else:
                request.result.set(outcome)

    def _compute(self, batch: list[_Request]) -> list[Outputs | Exception]:
        decoded: list[Any] = [_attempt(self._decode, one.images) if one.pixels is None else one.pixels for one in batch]
        pixels = [part for part in decoded if not isinstance(part, Exception)]
        outputs: Any = _attempt(self._run, np.concatenate(pixels)) if pixels else None
        start = 0
        for index, part in enumerate(decoded):
            if not isinstance(part, Exception):
                own = slice(start, start := start + len(part))
                decoded[index] = outputs if isinstance(outputs, Exception) else outputs.rows(own)
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

"""Queue requests for the model's threads."""

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


@dataclass(eq=False)
class _Request:
    images: list[bytes]
    pixels: NDArray[np.uint8] | None = None  # of images that are decoded already
    result: AsyncResult = field(default_factory=AsyncResult)


class ModelQueue:
    """Decode and classify in native threads, one request after the other in each, while greenlets wait."""

    def __init__(
        self,
        decode: Callable[[list[bytes]], NDArray[np.uint8]],
        run: Callable[[NDArray[np.uint8]], Outputs],
        threads: int,
    ) -> None:
        """Create a queue for one model.

        Args:
            decode: Turns a request's images into pixels, shape ``(n, size, size, 3)``; may raise.
            run: Turns pixels into outputs.
            threads: Requests at the same time.
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
        self._start_next()
        outputs: Outputs = request.result.get()
        return outputs

    def _start_next(self) -> None:
        queue = self._queue or self._background
        if queue and self._idle:
            self._idle -= 1
            gevent.spawn(self._finish, queue.popleft())

    def _finish(self, request: _Request) -> None:
        outcome = self._threads.apply(self._compute, (request,))
        self._idle += 1
        self._start_next()
        request.images.clear()  # an error and its frames are a reference cycle, which must not keep them
        if isinstance(outcome, Exception):
            request.result.set_exception(outcome)
        else:
            request.result.set(outcome)

    def _compute(self, request: _Request) -> Any:
        pixels = _attempt(self._decode, request.images) if request.pixels is None else request.pixels
        return pixels if isinstance(pixels, Exception) else _attempt(self._run, pixels)


def _attempt(function: Callable[..., Any], argument: Any) -> Any:
    try:
        return function(argument)
    except Exception as error:
        caught: BaseException | None = error
        while caught:
            traceback.clear_frames(caught.__traceback__)  # as above
            caught = caught.__context__
        return error

"""Limit predictions in progress, uploads in memory, and requests per client.

Greenlets switch only while they wait, so counters need no lock.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator

import limits
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from services.inference.problems import FULL, TOO_MANY_REQUESTS, Problem
from services.inference.telemetry import prometheus

RETRY_AFTER = 1  # seconds


def _full() -> Problem:
    prometheus.shed.inc()
    detail = "Too many predictions are in progress. Send the request again in a second."
    return Problem(FULL, detail, retry_after=RETRY_AFTER)


class ConcurrencyLimiter:
    """Limit the predictions in progress of one worker; the methods raise ``Problem`` when all slots are taken."""

    def __init__(self, limit: int) -> None:
        self._free = limit

    def check(self) -> None:
        """Refuse a request before its body is read."""
        if not self._free:
            raise _full()

    @contextlib.contextmanager
    def acquire(self) -> Iterator[None]:
        """Hold a slot for the block."""
        self.check()
        self._free -= 1
        try:
            with prometheus.in_flight.track_inprogress():
                yield
        finally:
            self._free += 1


class UploadMemory:
    """Limit the bytes that the open uploads of one worker hold, however many uploads there are."""

    def __init__(self, limit: int) -> None:
        self._free = limit

    @contextlib.contextmanager
    def reserve(self) -> Iterator[Callable[[int], None]]:
        """Give a function that takes bytes until the end of the block; it raises ``Problem`` when too few are free."""
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if size > self._free:
                raise _full()
            self._free -= size
            taken += size

        try:
            yield take
        finally:
            self._free += taken


class RateLimiter:
    """Limit the requests of each client in one worker to a rate such as ``60/minute``, with a moving window."""

    def __init__(self, rate: str) -> None:
        self._rate, self._item = rate, limits.parse(rate)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def take(self, client: str) -> None:
        """Count one request of a client, or raise ``Problem`` if its rate is used up."""
        if not self._limiter.hit(self._item, client):
            reset = self._limiter.get_window_stats(self._item, client).reset_time
            seconds = max(1, math.ceil(reset - time.time()))
            detail = f"More than {self._rate} from one client. Send the request again in {seconds} s."
            raise Problem(TOO_MANY_REQUESTS, detail, retry_after=seconds)

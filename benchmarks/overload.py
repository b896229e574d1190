"""Overload a service and measure how soon it recovers."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.load.generator import open_loop
from benchmarks.load.result import OK, Result

RECOVERY_SECONDS = 5.0
MODERATE = 0.5  # of the highest rate
NORMAL = 4  # times the usual p99 is still normal


@dataclass(frozen=True)
class Overload:
    """Responses of an overloaded service."""

    rate: float
    """Requests sent per second."""
    result: Result
    recovery: float
    """Seconds from the end of the overload to the last request that was refused, lost or slower than normal."""


def overload(url: str, requests: Sequence[bytes], highest: float, times: float, seconds: float) -> Overload:
    """Overload a service, then send half of its highest rate and measure the recovery.

    Args:
        url: Address of the service.
        requests: From ``payload.requests``.
        highest: Its highest rate, requests per second.
        times: Multiple of this rate to send.
        seconds: Duration of the overload.
    """
    usual = open_loop(url, requests, MODERATE * highest, RECOVERY_SECONDS)
    start = time.perf_counter()
    result = open_loop(url, requests, times * highest, seconds)
    drained = max(0.0, time.perf_counter() - start - seconds)  # the last responses belong to the recovery
    after = open_loop(url, requests, MODERATE * highest, RECOVERY_SECONDS)
    limit = NORMAL * usual.percentile(99) / 1000
    late = [sample.begun for sample in after.samples if sample.status != OK or sample.seconds > limit]
    return Overload(times * highest, result, drained + max(late, default=0.0))

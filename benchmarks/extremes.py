"""What happens below the highest rate and far above it: tails, refusals, and the way back."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import load
from benchmarks.connection import LOST
from benchmarks.result import OK

FULL = 503
AFTERWARDS = 5.0  # seconds
MODERATE = 0.5  # of the highest rate
NORMAL = 4  # times the usual p99 is still normal


@dataclass(frozen=True)
class Tail:
    """Latencies at a steady rate, in milliseconds."""

    rate: float
    p50: float
    p99: float


@dataclass(frozen=True)
class Overload:
    """What came back while far more was asked than could be done."""

    asked: float
    """Requests per second."""
    seconds: float
    accepted: float
    """Requests answered with 200, per second."""
    accepted_p99: float
    """Milliseconds."""
    refused: int
    refused_p50: float
    refused_p99: float
    """Milliseconds from the moment a request was due to the whole 503."""
    lost: int
    """Requests without an answer."""
    others: int
    """Answers with any other status."""
    recovery: float
    """Seconds from the end of the overload to the last request that was refused, lost or slower than normal."""


def tail(url: str, requests: Sequence[bytes], rate: float, seconds: float) -> Tail:
    """Measure latencies at a steady rate."""
    result = load.at_rate(url, requests, rate, seconds)
    return Tail(rate, result.percentile(50), result.percentile(99))


def overload(url: str, requests: Sequence[bytes], highest: float, times: float, seconds: float) -> Overload:
    """Ask for more than can be done, then for half of it, and see when all is well again.

    Args:
        url: The service's.
        requests: From ``payload.requests``.
        highest: What it can do, requests per second.
        times: How often that to ask for.
        seconds: How long.
    """
    usual = load.at_rate(url, requests, MODERATE * highest, AFTERWARDS)
    start = time.perf_counter()
    result = load.at_rate(url, requests, times * highest, seconds)
    # The last answers are part of the way back.
    drained = max(0.0, time.perf_counter() - start - seconds)
    after = load.at_rate(url, requests, MODERATE * highest, AFTERWARDS)
    limit = NORMAL * usual.percentile(99) / 1000
    amiss = [sample.begun for sample in after.samples if sample.status != OK or sample.seconds > limit]
    statuses = result.statuses
    return Overload(
        asked=times * highest,
        seconds=seconds,
        accepted=result.rate,
        accepted_p99=result.percentile(99),
        refused=statuses[FULL],
        refused_p50=result.percentile(50, FULL),
        refused_p99=result.percentile(99, FULL),
        lost=statuses[LOST],
        others=sum(count for status, count in statuses.items() if status not in (OK, FULL, LOST)),
        recovery=drained + max(amiss, default=0.0),
    )

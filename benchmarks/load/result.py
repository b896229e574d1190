"""Measurements of one run of the load generator."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

OK = 200
LOST = 0  # in place of a status: the connection ended before the response did


class Sample(NamedTuple):
    """One request."""

    begun: float
    """Seconds since the start of the run."""
    seconds: float
    """Until the response was complete."""
    status: int
    """HTTP status, or ``LOST``."""


@dataclass(frozen=True)
class Result:
    """All requests of a run."""

    seconds: float
    """Duration of the run."""
    cpu_seconds: float
    """CPU time of the load generator itself."""
    samples: Sequence[Sample]

    @cached_property
    def statuses(self) -> Counter[int]:
        """Number of responses by status."""
        return Counter(sample.status for sample in self.samples)

    @property
    def rate(self) -> float:
        """Responses with status 200 per second."""
        return self.statuses[OK] / self.seconds

    def percentile(self, percent: float, status: int = OK) -> float:
        """Compute a latency percentile of the responses with a status, in milliseconds; NaN without any."""
        times = [sample.seconds for sample in self.samples if sample.status == status]
        return 1000 * float(np.percentile(times, percent)) if times else float("nan")

    def describe(self) -> str:
        """Format the rate, and a line of latencies for each status."""
        lines = [
            f"{self.rate:.1f} requests/s in {self.seconds:.1f} s; "
            f"the load generator took {self.cpu_seconds:.2f} s of CPU time"
        ]
        for status, count in sorted(self.statuses.items()):
            p50, p90, p99 = (self.percentile(percent, status) for percent in (50, 90, 99))
            name = status or "no response"
            lines.append(f"{name}: {count:,} requests, p50 {p50:.1f} ms, p90 {p90:.1f} ms, p99 {p99:.1f} ms")
        return "\n".join(lines)

"""What a run of the load generator measured."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

OK = 200


class Sample(NamedTuple):
    """One request."""

    begun: float
    """Seconds since the run's start."""
    seconds: float
    """Until the whole answer was there."""
    status: int
    """``connection.LOST`` if none came."""


@dataclass(frozen=True)
class Result:
    """All requests of a run."""

    seconds: float
    """How long the run took."""
    processor_seconds: float
    """What the load generator itself took of a processor."""
    samples: Sequence[Sample]

    @cached_property
    def statuses(self) -> Counter[int]:
        """How often each status was answered."""
        return Counter(sample.status for sample in self.samples)

    @property
    def rate(self) -> float:
        """Requests answered with 200, per second."""
        return self.statuses[OK] / self.seconds

    def percentile(self, percent: float, status: int = OK) -> float:
        """Milliseconds within which that share of the requests with a status was answered; NaN without any."""
        times = [sample.seconds for sample in self.samples if sample.status == status]
        return 1000 * float(np.percentile(times, percent)) if times else float("nan")

    def describe(self) -> str:
        """Tell it in a line or two for each status."""
        lines = [
            f"{self.rate:.1f} requests/s in {self.seconds:.1f} s; "
            f"the load generator took {self.processor_seconds:.2f} s of a processor"
        ]
        for status, count in sorted(self.statuses.items()):
            p50, p90, p99 = (self.percentile(percent, status) for percent in (50, 90, 99))
            name = status or "no answer"
            lines.append(f"{name}: {count:,} requests, p50 {p50:.1f} ms, p90 {p90:.1f} ms, p99 {p99:.1f} ms")
        return "\n".join(lines)

"""One measured run: a server, the load, and what both took."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks import load, payload
from benchmarks.processes import Running
from benchmarks.result import OK
from benchmarks.servers import MULTIPART, Server


@dataclass(frozen=True)
class Run:
    """What one run measured."""

    rate: float
    """Requests answered with 200, per second."""
    refused: float
    """Share of the requests that were answered otherwise, or not at all."""
    p50: float
    """Milliseconds, as all latencies."""
    p99: float
    processor: float
    """Milliseconds of processor time that the server took for a request, over all its processes."""
    memory: float
    """Megabytes of all its processes at the end of the run."""
    generator_seconds: float
    """Processor time of the load generator."""
    seconds: float


@dataclass
class Row:
    """All runs of one server with one form of upload."""

    name: str
    form: str
    runs: list[Run] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    """Seconds from the process's start until it was ready."""

    def median(self, what: str) -> float:
        """The middle one of a value of the runs."""
        return median(getattr(run, what) for run in self.runs)

    @property
    def rate(self) -> float:
        """Requests per second, the middle one."""
        return self.median("rate")


class RefusedError(Exception):
    """A server does not do what it is measured for; the message says what it answered."""


def drive(
    running: Running,
    server: Server,
    form: str,
    pictures: Sequence[bytes],
    seconds: float,
    warm_up: float,
    connections: int = 8,
    per_request: int = 1,
) -> Run:
    """Drive a server in a closed loop.

    Args:
        running: The server.
        server: What it is.
        form: How pictures are sent, one of its forms.
        pictures: What to send.
        seconds: How long to measure.
        warm_up: Seconds before, not measured.
        connections: How many ask at the same time.
        per_request: Pictures in a request.

    Raises:
        RefusedError: No answer was 200.
    """
    requests = payload.requests(pictures, per_request, path=server.forms[form], multipart=form == MULTIPART)
    load.closed(running.url, requests, connections, warm_up)
    before = running.processor_seconds()
    result = load.closed(running.url, requests, connections, seconds)
    processor = running.processor_seconds() - before
    if not result.statuses[OK]:
        raise RefusedError(f"{server.name}, {form}: answered {dict(result.statuses)} (0: none), never 200")
    return Run(
        result.rate,
        1 - result.statuses[OK] / len(result.samples),
        result.percentile(50),
        result.percentile(99),
        1000 * processor / len(result.samples),
        running.memory() / 1e6,
        result.processor_seconds,
        result.seconds,
    )


def spread(values: Iterable[float], digits: int = 0) -> str:
    """The middle value, with the smallest and the largest where there are several."""
    values = sorted(values)
    middle = f"{median(values):,.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({values[0]:,.{digits}f} – {values[-1]:,.{digits}f})"

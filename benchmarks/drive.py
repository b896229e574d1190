"""One measured run of a server: throughput, latency, CPU time and memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.load import payload
from benchmarks.load.generator import closed_loop
from benchmarks.load.result import OK
from benchmarks.servers import MULTIPART
from benchmarks.servers.process import Running


@dataclass(frozen=True)
class Run:
    """Measurements of one run."""

    rate: float
    """Responses with status 200 per second."""
    refused: float
    """Share of the requests with another status or without a response."""
    p50: float
    p99: float
    """Milliseconds, as ``p50``."""
    cpu_ms: float
    """CPU time of all processes of the server for one request, milliseconds."""
    memory_mb: float
    """Memory of all its processes at the end of the run."""
    generator_cpu_seconds: float
    """CPU time of the load generator."""
    seconds: float


@dataclass
class Row:
    """All runs of one server with one form of upload."""

    name: str
    form: str
    runs: list[Run] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    """Seconds from the start of the process until it was ready."""

    def median(self, name: str) -> float:
        """Compute the median of a field of the runs."""
        return median(getattr(run, name) for run in self.runs)


class RefusedError(Exception):
    """A server refused requests that it should have answered; the message has the statuses."""


def drive(
    running: Running,
    form: str,
    images: Sequence[bytes],
    seconds: float,
    warm_up: float,
    connections: int = 8,
    per_request: int = 1,
) -> Run:
    """Load a server in a closed loop and measure it.

    Args:
        running: The server.
        form: Form of upload, one of the server's.
        images: Encoded images to send.
        seconds: Duration of the measurement.
        warm_up: Seconds of load before it.
        connections: Number of concurrent requests.
        per_request: Images in a request.

    Raises:
        RefusedError: No response had status 200.
    """
    server = running.server
    requests = payload.requests(images, per_request, server.forms[form], form == MULTIPART, server.headers)
    closed_loop(running.url, requests, connections, warm_up)
    before = running.cpu_seconds()
    result = closed_loop(running.url, requests, connections, seconds)
    cpu = running.cpu_seconds() - before
    if not result.statuses[OK]:
        raise RefusedError(f"{server.name}, {form}: answered {dict(result.statuses)} (0: none), never 200")
    return Run(
        result.rate,
        1 - result.statuses[OK] / len(result.samples),
        result.percentile(50),
        result.percentile(99),
        1000 * cpu / len(result.samples),
        running.memory() / 1e6,
        result.cpu_seconds,
        result.seconds,
    )

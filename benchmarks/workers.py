"""How many processes and threads the service should have: ``python -m benchmarks.workers``.

For each combination, by turns: the highest rate with a closed loop, and the times of answers at 70 % of it.
"""

import argparse
import itertools
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks import load, payload, photos
from benchmarks.processes import running
from benchmarks.servers import OURS

CONNECTIONS = 8
SHARE = 0.7  # of the highest rate


class Measured(NamedTuple):
    """One run of one combination."""

    rate: float
    processor_ms: float
    p50: float
    p99: float
    megabytes: float
    start: float


def measure(processes: int, threads: int, requests: Sequence[bytes], seconds: float) -> Measured:
    """Start the service, load it fully and then at ``SHARE`` of what it reached."""
    most = max(1, min(16, threads - 1))
    environment = {**OURS.environment, "THREADS": str(threads), "MAX_IN_FLIGHT": str(most)}
    server = replace(OURS, environment=environment)
    with tempfile.TemporaryDirectory() as folder, running(server, Path(folder) / "log", processes) as service:
        load.closed(service.url, requests, CONNECTIONS, 1)
        before = service.processor_seconds()
        full = load.closed(service.url, requests, CONNECTIONS, seconds)
        spent = service.processor_seconds() - before
        some = load.at_rate(service.url, requests, SHARE * full.rate, seconds)
        return Measured(
            full.rate,
            1000 * spent / len(full.samples),
            some.percentile(50),
            some.percentile(99),
            service.memory() / 1e6,
            service.start_seconds,
        )


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=main.__doc__)
    add = parser.add_argument
    photos.argument(parser)
    add("--processes", type=int, nargs="+", default=[1, 2, 3, 4], metavar="N")
    add("--threads", type=int, nargs="+", default=[10, 20, 40], metavar="N", help="in each process")
    add("--seconds", type=float, default=5, help="for each figure in each round [%(default)s]")
    add("--rounds", type=int, default=3, help="of which the medians are shown [%(default)s]")
    options = parser.parse_args()
    requests = payload.requests(photos.chosen(parser, options))
    found: dict[tuple[int, int], list[Measured]] = defaultdict(list)
    for _ in range(options.rounds):
        for processes, threads in itertools.product(options.processes, options.threads):
            found[processes, threads].append(measure(processes, threads, requests, options.seconds))
    print(f"{CONNECTIONS} connections; p50 and p99 at {SHARE:.0%} of the highest rate.\n")
    print("| processes | threads | requests/s | processor ms | p50, ms | p99, ms | MB | start, s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for (processes, threads), runs in found.items():
        one = Measured(*(statistics.median(values) for values in zip(*runs, strict=True)))
        print(
            f"| {processes} | {threads} | {one.rate:.0f} | {one.processor_ms:.2f} | {one.p50:.1f} | {one.p99:.1f} "
            f"| {one.megabytes:.0f} | {one.start:.2f} |"
        )


if __name__ == "__main__":
    main()

"""What happens at several times the load that the service can bear: ``python -m benchmarks.overload``.

Finds the highest rate with a closed loop, asks at a multiple of it without waiting for answers, and looks at half of it
how soon the service is back to normal.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks import load, payload, photos
from benchmarks.processes import running
from benchmarks.result import OK, Result
from benchmarks.servers import OURS

FULL = 503
CONNECTIONS = 16
SETTLE = 2.0  # seconds within which it shall be back to normal


def row(name: str, result: Result) -> str:
    """A line of the table."""
    counts = result.statuses
    others = sum(count for status, count in counts.items() if status not in (OK, FULL))
    times = [
        f"{result.percentile(percent, status):,.0f}" if counts[status] else ""
        for status in (OK, FULL)
        for percent in (50, 99)
    ]
    cells = [f"{len(result.samples) / result.seconds:,.0f}", f"{counts[OK]:,}", *times[:2], f"{counts[FULL]:,}"]
    return f"| {' | '.join([name, *cells, *times[2:], str(others)])} |"


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=main.__doc__)
    add = parser.add_argument
    add("--photos", type=Path, metavar="FOLDER|ZIP", help="what to send [drawn pictures]")
    add("--workers", type=int, default=2, metavar="N", help="[%(default)s]")
    add("--times", type=float, default=4, metavar="X", help="the highest rate [%(default)s]")
    add("--seconds", type=float, default=60, help="of overload [%(default)s]")
    options = parser.parse_args()
    requests = payload.requests(photos.read(options.photos))
    print("| load | requests/s | answered 200 | p50, ms | p99, ms | 503 | p50, ms | p99, ms | others |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder, running(OURS, Path(folder) / "log", options.workers) as server:
        load.closed(server.url, requests, 8, 3)
        most = load.closed(server.url, requests, CONNECTIONS, 8)
        print(row(f"{CONNECTIONS} connections", most), flush=True)
        half = load.at_rate(server.url, requests, most.rate / 2, 5)
        print(row("half of that", half), flush=True)
        over = load.at_rate(server.url, requests, options.times * most.rate, options.seconds)
        print(row(f"{options.times:g} times that", over), flush=True)
        print(row(f"half, in the first {SETTLE:g} s after", load.at_rate(server.url, requests, most.rate / 2, SETTLE)))
        print(row("half, afterwards", load.at_rate(server.url, requests, most.rate / 2, 5)))
        workers = len(server.process.children())
        print(f"\n{workers} workers are there; {server.memory() / 1e6:,.0f} MB.")


if __name__ == "__main__":
    main()

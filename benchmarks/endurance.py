"""Whether memory grows: ``python -m benchmarks.endurance``.

Sends many pictures of mixed sizes, and prints the memory of the service every few thousand.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import load, payload, photos
from benchmarks.processes import running
from benchmarks.result import OK
from benchmarks.servers import OURS

MEGAPIXELS = (0.1, 1.0, 3.0, 12.0)
LARGER = 5  # photos of each of these sizes, among the ones as they are
CONNECTIONS = 8
SLICE = 1.0  # seconds


def mixed(usual: Sequence[bytes]) -> Sequence[bytes]:
    """Photos as they are, and some of them in other sizes, evenly among them."""
    some, usual = usual[:LARGER], list(usual)
    others = [picture for megapixels in MEGAPIXELS for picture in photos.enlarge(some, megapixels)]
    step = max(1, len(usual) // len(others))
    for number, picture in enumerate(others):
        usual.insert(number * (step + 1), picture)
    return usual


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endurance", description=main.__doc__)
    add = parser.add_argument
    photos.argument(parser)
    add("--workers", type=int, default=2, metavar="N", help="[%(default)s]")
    add("--requests", type=int, default=50_000, metavar="N", help="[%(default)s]")
    add("--every", type=int, default=5_000, metavar="N", help="a line of the table [%(default)s]")
    options = parser.parse_args()
    pictures = mixed(photos.chosen(parser, options))
    requests = [payload.request([picture], multipart=number % 2 == 0) for number, picture in enumerate(pictures)]
    print("| requests | memory of all processes, MB | since the first line |")
    print("| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder, running(OURS, Path(folder) / "log", options.workers) as server:
        done, first = 0, 0
        for goal in range(options.every, options.requests + 1, options.every):
            while done < goal:
                start = done % len(requests)
                result = load.closed(server.url, requests[start:] + requests[:start], CONNECTIONS, SLICE)
                if result.statuses.keys() != {OK}:
                    raise SystemExit(f"Not every picture was answered: {dict(result.statuses)}")
                done += len(result.samples)
            memory = server.memory()
            first = first or memory
            print(f"| {done:,} | {memory / 1e6:,.1f} | {memory / first - 1:+.1%} |", flush=True)


if __name__ == "__main__":
    main()

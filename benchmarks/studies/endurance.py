"""Check whether memory grows: ``python -m benchmarks.studies.endurance``.

Sends images of mixed sizes, and prints the memory of the service every few thousand requests.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import photos
from benchmarks.load import payload
from benchmarks.load.generator import closed_loop
from benchmarks.load.result import OK
from benchmarks.report import table
from benchmarks.servers import OURS
from benchmarks.servers.process import running

MEGAPIXELS = (0.1, 1.0, 3.0, 12.0)
PHOTOS_PER_SIZE = 5
SLICE = 1.0  # seconds


def mix_sizes(images: Sequence[bytes]) -> Sequence[bytes]:
    """Insert scaled copies of some images evenly among the images."""
    mixed = list(images)
    scaled = [image for megapixels in MEGAPIXELS for image in photos.scale(images[:PHOTOS_PER_SIZE], megapixels)]
    step = max(1, len(mixed) // len(scaled))
    for number, image in enumerate(scaled):
        mixed.insert(number * (step + 1), image)
    return mixed


def main() -> None:
    """Print the memory of the service under load as a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.endurance", description=main.__doc__)
    photos.add_arguments(parser)
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="[%(default)s]")
    parser.add_argument("--requests", type=int, default=50_000, metavar="N", help="[%(default)s]")
    parser.add_argument("--every", type=int, default=5_000, metavar="N", help="requests per row [%(default)s]")
    options = parser.parse_args()
    images = mix_sizes(photos.from_arguments(parser, options))
    requests = [payload.request([image], multipart=number % 2 == 0) for number, image in enumerate(images)]
    print(table(("requests", "memory of all processes, MB", "since the first row"), []))
    with tempfile.TemporaryDirectory() as folder, running(OURS, Path(folder) / "log", options.workers) as server:
        done, first = 0, 0
        for goal in range(options.every, options.requests + 1, options.every):
            while done < goal:
                start = done % len(requests)
                result = closed_loop(server.url, requests[start:] + requests[:start], connections=8, seconds=SLICE)
                if result.statuses.keys() != {OK}:
                    raise SystemExit(f"Requests were refused or lost: {dict(result.statuses)}")
                done += len(result.samples)
            memory = server.memory()
            first = first or memory
            print(f"| {done:,} | {memory / 1e6:,.1f} | {memory / first - 1:+.1%} |", flush=True)


if __name__ == "__main__":
    main()

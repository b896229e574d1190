"""``python -m tests.fuzz.costs``: the time and memory that the most expensive accepted pictures take to decode."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bundle.preprocess import ImageError, decode
from tests.fuzz import corpus
from tests.fuzz.conftest import peak

SIZE = 224
MEGA = 10**6


def measure(file: Path) -> str:
    """Decode a picture in this process, which does nothing else, and describe it as a row."""
    data = file.read_bytes()
    before, started, outcome = peak(os.getpid()), time.process_time(), "decoded"
    try:
        decode(data, SIZE, "stretch")
    except ImageError:
        outcome = "refused"
    seconds, memory = time.process_time() - started, peak(os.getpid()) - before
    return f"{len(data) / MEGA:.3f} MB | {outcome} | {seconds:.1f} s | {memory / MEGA:.0f} MB |"


def main() -> None:
    """Run as a command; by itself once for each picture, because a process's peak never falls."""
    if len(sys.argv) > 1:
        print(measure(Path(sys.argv[1])))  # noqa: T201
        return
    print("| picture | size | | processor | memory |\n| --- | --- | --- | --- | --- |")  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        for name, make in corpus.LARGEST.items():
            file = Path(folder) / "picture"
            file.write_bytes(make())
            command = [sys.executable, "-m", "tests.fuzz.costs", file]
            row = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            print(f"| {name} | {row}")  # noqa: T201


if __name__ == "__main__":
    main()

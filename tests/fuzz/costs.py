"""Measure the most expensive accepted images: ``python -m tests.fuzz.costs``."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bundle.preprocess import ImageError, decode
from tests.fuzz import corpus
from tests.fuzz.conftest import peak


def measure(name: str, file: Path) -> str:
    """Decode an image in this process, which does nothing else, and describe it as a row."""
    data = file.read_bytes()
    before, started, outcome = peak(os.getpid()), time.process_time(), "decoded"
    try:
        decode(data, 224, "stretch")
    except ImageError:
        outcome = "refused"
    seconds, memory = time.process_time() - started, peak(os.getpid()) - before
    return f"| {name} | {len(data) / 1e6:.3f} MB | {outcome} | {seconds:.1f} s | {memory / 1e6:.0f} MB |"


def main() -> None:
    """Run as a command; each image in a process of its own, because a process's peak never falls."""
    if len(sys.argv) > 1:
        print(measure(sys.argv[1], Path(sys.argv[2])))  # noqa: T201
        return
    print("| image | size | | processor | memory |\n| --- | --- | --- | --- | --- |", flush=True)  # noqa: T201
    for name, make in corpus.LARGEST.items():
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(make())
            subprocess.run([sys.executable, "-m", "tests.fuzz.costs", name, file.name], check=True)


if __name__ == "__main__":
    main()

"""How near ``ml.score`` comes to what the processors can do: ``python -m benchmarks.scoring``.

By turns, the command scores a folder of photos (from its start to its end, so a small folder flatters nobody), and as
many processes decode, resize and run the same photos from memory in a loop. Writes a Markdown table.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
from tqdm import trange

from benchmarks import limit, machine, photos
from services.inference import cpus

ROOT = Path(__file__).resolve().parent.parent
REPORT = Path("docs/benchmarks/scoring.md")
SAMPLE_SECONDS = 0.5


class Scored(NamedTuple):
    """One run of the command."""

    rate: float
    """Photos per second, start and end included."""
    processor_seconds: float
    """For one photo, start and end included."""
    memory: int
    """Bytes of all its processes at their most; what several share counts once."""


def fill(folder: Path, pictures: Sequence[bytes], count: int) -> Path:
    """Make a folder of that many files, which are links to these pictures in turns."""
    originals = folder / ".originals"
    originals.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        (originals / str(number)).write_bytes(picture)
    for number in range(count):
        here = folder / f"{number // 1000:04}"
        here.mkdir(exist_ok=True)
        os.link(originals / str(number % len(pictures)), here / f"{number:07}.jpg")
    return folder


def run(folder: Path, count: int, out: Path) -> Scored:
    """Score a folder of that many photos.

    Raises:
        subprocess.CalledProcessError: The command failed.
    """
    command = [sys.executable, "-m", "ml.score", str(folder), "--out", str(out), "--overwrite"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    start, used, most = time.perf_counter(), _processor_seconds(), 0
    with psutil.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while True:
            try:
                process.wait(SAMPLE_SECONDS)
                break
            except psutil.TimeoutExpired:
                most = max(most, _memory(process))
    seconds = time.perf_counter() - start
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Scored(count / seconds, (_processor_seconds() - used) / count, most)


def _processor_seconds() -> float:
    """Of the processes that were started here and have ended, with theirs."""
    times = os.times()
    return times.children_user + times.children_system


def _memory(process: psutil.Process) -> int:
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_full_info().pss
        except psutil.NoSuchProcess:  # it has just ended
            continue
    return total


def table(limits: Sequence[limit.Limit], runs: Sequence[Scored], few: Sequence[Scored], counts: Sequence[int]) -> str:
    """Lay the medians out."""
    share = statistics.median(run.rate / one.rate for run, one in zip(runs, limits, strict=True))
    lines = [
        "| | photos/s | lowest to highest | of the limit | processor, ms/photo | memory, MB |",
        "| --- | --- | --- | --- | --- | --- |",
        f"| in-process limit | {_numbers(limits, '100%')} | |",
    ]
    for count, scored, part in ((counts[1], runs, f"**{share:.0%}**"), (counts[0], few, "")):
        memory = statistics.median(one.memory for one in scored) / 1e6
        lines.append(f"| `ml.score`, {count:,} photos | {_numbers(scored, part)} | {memory:,.0f} |")
    return "\n".join(lines)


def _numbers(runs: Sequence[limit.Limit | Scored], share: str) -> str:
    rates = [run.rate for run in runs]
    milliseconds = 1000 * statistics.median(run.processor_seconds for run in runs)
    return f"{statistics.median(rates):,.0f} | {min(rates):,.0f} to {max(rates):,.0f} | {share} | {milliseconds:.2f}"


def main() -> None:
    """Measure, and write a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring", description=main.__doc__)
    add = parser.add_argument
    photos.argument(parser)
    add("--count", type=int, default=10_000, metavar="N", help="files in the folder, and a tenth [%(default)s]")
    add("--seconds", type=float, default=10, help="of the loop in each round [%(default)s]")
    add("--rounds", type=int, default=5, help="of which the medians are shown [%(default)s]")
    add("--out", type=Path, default=REPORT, help="where the table goes [%(default)s]")
    options = parser.parse_args()
    pictures = photos.chosen(parser, options)
    counts = options.count // 10, options.count
    limits, runs, few = [], [], []
    with tempfile.TemporaryDirectory() as temporary:
        folders = [fill(Path(temporary) / str(count), pictures, count) for count in counts]
        out = Path(temporary) / "scores.csv"
        for _ in trange(options.rounds, desc="scoring", unit=" rounds"):
            limits.append(limit.measure(pictures, cpus.limit(), options.seconds))
            runs.append(run(folders[1], counts[1], out))
            few.append(run(folders[0], counts[0], out))
    text = table(limits, runs, few, counts)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        f"# Scoring a folder\n\n{len(pictures)} photos over and over; medians of {options.rounds} rounds by turns.\n"
        f"{machine.describe()}. Repeat with `python -m benchmarks.scoring`.\n\n{text}\n"
    )
    print(text)


if __name__ == "__main__":
    main()

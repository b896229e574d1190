"""How cost grows with connections, with pictures in a request and with their size: ``python -m benchmarks.growth``.

Writes a table and a plot for each. ``make bench`` runs it after the comparison.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks import machine, photos
from benchmarks.drive import Run, drive
from benchmarks.processes import running, stop_when_told
from benchmarks.report import BLUE, save
from benchmarks.servers import MULTIPART, OURS, RAW
from services.inference import cpus

OUT = Path("docs/benchmarks")
TABLE = "growth.md"
COMMAND = "python -m benchmarks.growth --photos <folder or zip of photos>"
CONNECTIONS = (1, 2, 4, 8, 16)
PICTURES = (1, 2, 4, 8, 16, 32)
MEGAPIXELS = (0.1, 0.3, 1.0, 3.0, 6.0, 12.0, 24.0)
USUAL = 8  # connections
DISTINCT = 8  # pictures of a size
MEMORY = "memory of all processes, MB"
RED = "#dc2626"
ROOM = 1.1  # above the highest point


@dataclass(frozen=True)
class Growth:
    """One thing that grows, and what was measured at each of its values."""

    name: str
    """Of the files."""
    title: str
    unit: str
    values: Sequence[float]
    runs: Sequence[Run]
    pictures: Sequence[int]
    """In a request, at each value."""

    @property
    def rates(self) -> list[float]:
        """Pictures per second, at each value."""
        return [run.rate * number for run, number in zip(self.runs, self.pictures, strict=True)]


class Meter:
    """Drives a service of its own for each value: what one value left in its memory is not seen at the next."""

    def __init__(self, pictures: Sequence[bytes], seconds: float, warm_up: float, workers: int, folder: Path) -> None:
        self.pictures, self.seconds, self.warm_up, self.workers = pictures, seconds, warm_up, workers
        self._log = folder / "service.log"

    def run(self, connections: int = USUAL, per_request: int = 1, pictures: Sequence[bytes] | None = None) -> Run:
        """Start the service, drive it, stop it."""
        form = RAW if per_request == 1 else MULTIPART
        with running(OURS, self._log, self.workers) as started:
            sent = pictures or self.pictures
            return drive(started, OURS, form, sent, self.seconds, self.warm_up, connections, per_request)


def measure(
    meter: Meter,
    connections: Sequence[int] = CONNECTIONS,
    pictures: Sequence[int] = PICTURES,
    megapixels: Sequence[float] = MEGAPIXELS,
) -> Iterator[Growth]:
    """Measure one after the other, with a progress bar."""
    with tqdm(total=len(connections) + len(pictures) + len(megapixels), unit="value") as bar:
        runs = [_step(bar, meter.run(connections=number)) for number in connections]
        yield Growth("connections", "Connections", "keep-alive connections", connections, runs, [1] * len(runs))
        runs = [_step(bar, meter.run(per_request=number)) for number in pictures]
        yield Growth("pictures", "Pictures in a request", "pictures in a request", pictures, runs, pictures)
        runs = []
        for size in megapixels:
            sized = list(photos.enlarge(meter.pictures[:DISTINCT], size))
            runs.append(_step(bar, meter.run(pictures=sized)))
        yield Growth("megapixels", "Size of the pictures", "megapixels", megapixels, runs, [1] * len(runs))


def _step(bar: "tqdm[Any]", run: Run) -> Run:
    bar.update()
    return run


def table(growth: Growth) -> str:
    """One growth as Markdown."""
    lines = [
        f"| {growth.unit} | requests/s | refused | pictures/s | p50, ms | p99, ms | CPU, ms a request | memory, MB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for value, run, rate in zip(growth.values, growth.runs, growth.rates, strict=True):
        lines.append(
            f"| {value:g} | {run.rate:.1f} | {run.refused:.0%} | {rate:.1f} | "
            f"{run.p50:.0f} | {run.p99:.0f} | {run.processor:.1f} | {run.memory:.0f} |"
        )
    return "\n".join(lines) + "\n"


def draw(growth: Growth) -> Figure:
    """Draw pictures per second and memory over the value that grows."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    left = figure.subplots()
    left.plot(growth.values, growth.rates, "o-", color=BLUE)
    left.set_xscale("log")
    left.set_xticks(growth.values, [f"{value:g}" for value in growth.values])
    left.minorticks_off()
    left.set_xlabel(growth.unit)
    left.set_ylabel("pictures per second", color=BLUE)
    left.set_ylim(0, ROOM * max(growth.rates))
    right = left.twinx()
    memory = [run.memory for run in growth.runs]
    right.plot(growth.values, memory, "s--", color=RED)
    right.set_ylabel(MEMORY, color=RED)
    right.set_ylim(0, ROOM * max(memory))
    return figure


def write(found: Sequence[Growth], about: str, folder: Path) -> None:
    """Write the tables and the plots into a folder; made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [f"# How cost grows\n\nWritten by `{COMMAND}`.\n\n{about}\n"]
    for growth in found:
        plot = f"growth_{growth.name}.svg"
        save(draw(growth), folder / plot)
        parts.append(f"## {growth.title}\n\n{table(growth)}\n![pictures per second and memory]({plot})\n")
    (folder / TABLE).write_text("\n".join(parts))


def main() -> None:
    """Measure how the cost of serving grows, and write tables and plots."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=main.__doc__)
    add = parser.add_argument
    photos.argument(parser)
    add("--seconds", type=float, default=4, help="of each measurement [%(default)s]")
    add("--warm-up", type=float, default=2, metavar="SECONDS", help="[%(default)s]")
    add("--workers", type=int, default=cpus.limit(), metavar="N", help="processes of the service [%(default)s]")
    add("--quick", action="store_true", help="short, to see whether all works; writes only to --out")
    add("--out", type=Path, metavar="FOLDER", help=f"where the tables and the plots go [{OUT}]")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.warm_up, options.most = 1, 0.5, 20
    pictures = photos.chosen(parser, options)
    stop_when_told()
    where = machine.describe()
    with tempfile.TemporaryDirectory() as folder:
        meter = Meter(pictures, options.seconds, options.warm_up, options.workers, Path(folder))
        found = list(measure(meter))
    about = (
        f"{where}. {options.workers} workers, {USUAL} connections where they are not what grows; "
        f"{len(pictures)} {'photos' if options.photos else 'drawn pictures'}, {DISTINCT} of them scaled to each size."
    )
    print(about, *(table(growth) for growth in found), sep="\n\n")
    out = options.out or (None if options.quick else OUT)
    if out:
        write(found, about, out)


if __name__ == "__main__":
    main()

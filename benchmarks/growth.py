"""Measure how cost grows: ``python -m benchmarks.growth``.

Writes a table and a plot for each parameter.
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
from benchmarks.report import BLUE, RED, save, table
from benchmarks.servers import MULTIPART, OURS, RAW
from benchmarks.servers.process import running, stop_on_signals

OUT = Path("docs/benchmarks")
TABLE = "growth.md"
COMMAND = "python -m benchmarks.growth --photos <folder or zip of photos>"
USUAL_CONNECTIONS = 8
PHOTOS_PER_SIZE = 8
COLUMNS = ("requests/s", "refused", "images/s", "p50, ms", "p99, ms", "CPU, ms a request", "memory, MB")
MARGIN = 1.1  # above the highest point of a plot


@dataclass(frozen=True)
class Parameter:
    """A quantity on which the cost depends, and the values to measure."""

    name: str
    """Argument of ``Meter.run``, and part of the plot's file name."""
    title: str
    unit: str
    values: Sequence[Any]


PARAMETERS = (
    Parameter("connections", "Connections", "keep-alive connections", (1, 2, 4, 8, 16)),
    Parameter("images", "Images in a request", "images in a request", (1, 2, 4, 8, 16, 32)),
    Parameter("megapixels", "Image size", "megapixels", (0.1, 0.3, 1.0, 3.0, 6.0, 12.0, 24.0)),
    Parameter("workers", "Workers", "workers", (1, 2, 3, 4)),
)


@dataclass(frozen=True)
class Meter:
    """Measure a fresh service for each value, so that no value inherits memory from another."""

    photos: Sequence[bytes]
    seconds: float
    warm_up: float
    workers: int
    log: Path
    """For the service's output."""

    def run(
        self,
        connections: int = USUAL_CONNECTIONS,
        images: int = 1,
        megapixels: float | None = None,
        workers: int | None = None,
    ) -> Run:
        """Start the service, measure it, stop it."""
        sent = list(photos.scale(self.photos[:PHOTOS_PER_SIZE], megapixels)) if megapixels else self.photos
        form = RAW if images == 1 else MULTIPART
        with running(OURS, self.log, workers or self.workers) as started:
            return drive(started, form, sent, self.seconds, self.warm_up, connections, images)


@dataclass(frozen=True)
class Growth:
    """The measurements at each value of a parameter."""

    parameter: Parameter
    runs: Sequence[Run]

    @property
    def rates(self) -> list[float]:
        """Images per second at each value."""
        several = self.parameter.name == "images"
        pairs = zip(self.parameter.values, self.runs, strict=True)
        return [run.rate * (value if several else 1) for value, run in pairs]


def measure(meter: Meter, parameters: Sequence[Parameter] = PARAMETERS) -> Iterator[Growth]:
    """Measure one parameter after the other, with progress bars."""
    for parameter in parameters:
        values = tqdm(parameter.values, parameter.unit)
        yield Growth(parameter, [meter.run(**{parameter.name: value}) for value in values])


def describe(growth: Growth) -> str:
    """Format the measurements as a Markdown table."""
    rows = []
    for value, run, rate in zip(growth.parameter.values, growth.runs, growth.rates, strict=True):
        rates = f"{value:g}", f"{run.rate:.1f}", f"{run.refused:.0%}", f"{rate:.1f}"
        costs = f"{run.p50:.0f}", f"{run.p99:.0f}", f"{run.cpu_ms:.1f}", f"{run.memory_mb:.0f}"
        rows.append((*rates, *costs))
    return table((growth.parameter.unit, *COLUMNS), rows) + "\n"


def draw(growth: Growth) -> Figure:
    """Draw images per second and memory over the parameter."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    left = figure.subplots()
    parameter = growth.parameter
    left.plot(parameter.values, growth.rates, "o-", color=BLUE)
    left.set_xscale("log")
    left.set_xticks(parameter.values, [f"{value:g}" for value in parameter.values])
    left.minorticks_off()
    left.set_xlabel(parameter.unit)
    left.set_ylabel("images per second", color=BLUE)
    left.set_ylim(0, MARGIN * max(growth.rates))
    right = left.twinx()
    memory = [run.memory_mb for run in growth.runs]
    right.plot(parameter.values, memory, "s--", color=RED)
    right.set_ylabel("memory of all processes, MB", color=RED)
    right.set_ylim(0, MARGIN * max(memory))
    return figure


def write(found: Sequence[Growth], about: str, folder: Path) -> None:
    """Write the tables and the plots into a folder; create it if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [f"# How cost grows\n\nWritten by `{COMMAND}`.\n\n{about}\n"]
    for growth in found:
        plot = f"growth_{growth.parameter.name}.svg"
        save(draw(growth), folder / plot)
        parts.append(f"## {growth.parameter.title}\n\n{describe(growth)}\n![images per second and memory]({plot})\n")
    (folder / TABLE).write_text("\n".join(parts))


def main() -> None:
    """Measure how the cost of serving grows, and write tables and plots."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=main.__doc__)
    add = parser.add_argument
    photos.add_arguments(parser)
    add("--seconds", type=float, default=4, help="of each measurement [%(default)s]")
    add("--warm-up", type=float, default=2, metavar="SECONDS", help="[%(default)s]")
    add("--workers", type=int, default=machine.cpu_count(), metavar="N", help="unless their number grows [%(default)s]")
    add("--quick", action="store_true", help="short, as a trial; writes only to --out")
    add("--out", type=Path, metavar="FOLDER", help=f"for the tables and the plots [{OUT}]")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.warm_up, options.most = 1, 0.5, 20
    images = photos.from_arguments(parser, options)
    stop_on_signals()
    where = machine.describe()
    with tempfile.TemporaryDirectory() as folder:
        found = list(measure(Meter(images, options.seconds, options.warm_up, options.workers, Path(folder) / "log")))
    about = (
        f"{where}. {options.workers} workers and {USUAL_CONNECTIONS} connections unless their number grows; "
        f"{len(images)} {'photos' if options.photos else 'drawn images'}, {PHOTOS_PER_SIZE} of them for each size."
    )
    print(about, *(describe(growth) for growth in found), sep="\n\n")
    if out := options.out or (None if options.quick else OUT):
        write(found, about, out)


if __name__ == "__main__":
    main()

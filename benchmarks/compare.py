"""Compare this service with other servers: ``make bench``, or ``python -m benchmarks.compare``.

Every round measures every server, so that all of them see the same state of the machine. Writes a table and a plot.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import comparison, limit, machine, photos
from benchmarks.comparison import Comparison
from benchmarks.drive import RefusedError, Row, drive
from benchmarks.load import payload
from benchmarks.load.generator import open_loop
from benchmarks.load.result import Result
from benchmarks.overload import Overload, overload
from benchmarks.servers import COMPARED, FASTAPI, OURS, RAW, Server
from benchmarks.servers.environment import NotInstalledError
from benchmarks.servers.process import NotStartedError, running, stop_on_signals

OUT = Path("docs/benchmarks")
PHONE_PHOTOS = 16
PHONE_MEGAPIXELS = 12.0
MAX_EXTRA_ROUNDS = 3  # for phone photos and tails
TAIL_LOAD = 0.7
OVERLOAD = 4.0


@dataclass
class Plan:
    """Images, durations in seconds, and numbers of rounds, connections and workers."""

    images: Sequence[bytes]
    log: Path
    """For the output of the server that runs."""
    rounds: int
    seconds: float
    warm_up: float
    overload: float
    connections: int
    workers: int

    @property
    def extra_rounds(self) -> int:
        """Rounds of the measurements beside the comparison itself."""
        return min(self.rounds, MAX_EXTRA_ROUNDS)


def rounds(plan: Plan, servers: Sequence[Server], bar: "tqdm[Any]") -> Comparison:
    """Measure the limit and every server once per round; each round begins with another server."""
    limits: list[limit.Limit] = []
    rows = {(server.name, form): Row(server.name, form) for server in servers for form in server.forms}
    left_out: dict[str, str] = {}
    for number in range(plan.rounds):
        bar.set_description("in-process limit")
        limits.append(limit.measure(plan.images, plan.workers, plan.seconds))
        bar.update()
        first = number % len(servers)
        for server in (*servers[first:], *servers[:first]):
            bar.set_description(server.name)
            if server.name not in left_out:
                try:
                    measure(plan, server, plan.images, rows)
                except (NotInstalledError, NotStartedError, RefusedError) as error:
                    if server is OURS:
                        raise
                    left_out[server.name] = str(error)
            bar.update(len(server.forms))
    kept = [row for row in rows.values() if row.name not in left_out]
    return Comparison(limits, kept, left_out, plan.workers, plan.connections)


def measure(plan: Plan, server: Server, images: Sequence[bytes], rows: dict[tuple[str, str], Row]) -> None:
    """Start a server and measure each of its forms of upload that has a row.

    Raises:
        NotInstalledError: Its packages could not be installed.
        NotStartedError: It did not get ready.
        RefusedError: A request was refused: the time of a refusal is not the time of a prediction.
    """
    with running(server, plan.log, plan.workers) as started:
        for form in server.forms:
            if row := rows.get((server.name, form)):
                run = drive(started, form, images, plan.seconds, plan.warm_up, plan.connections)
                if run.refused:
                    raise RefusedError(f"{server.name}, {form}: refused {run.refused:.1%} of the requests")
                row.runs.append(run)
                row.starts.append(started.start_seconds)


def phone_photos(plan: Plan, bar: "tqdm[Any]") -> list[Row]:
    """Measure this service and FastAPI, which decodes at full scale, with large photos."""
    large = list(photos.scale(plan.images[:PHONE_PHOTOS], PHONE_MEGAPIXELS))
    rows = {(server.name, RAW): Row(server.name, RAW) for server in (OURS, FASTAPI)}
    for _ in range(plan.extra_rounds):
        for server in (OURS, FASTAPI):
            bar.set_description(f"12 megapixels: {server.name}")
            measure(plan, server, large, rows)
            bar.update()
    return list(rows.values())


def extremes(plan: Plan, highest: float, bar: "tqdm[Any]") -> tuple[list[Result], Overload]:
    """Measure this service somewhat below and far above its highest rate."""
    requests = payload.requests(plan.images, path=OURS.forms[RAW])
    with running(OURS, plan.log, plan.workers) as started:
        tails = []
        bar.set_description("tail")
        for _ in range(plan.extra_rounds):
            tails.append(open_loop(started.url, requests, TAIL_LOAD * highest, 2 * plan.seconds))
            bar.update()
        bar.set_description("overload")
        over = overload(started.url, requests, highest, OVERLOAD, plan.overload)
        bar.update()
    return tails, over


def compare(plan: Plan) -> Comparison:
    """Measure everything, with a progress bar."""
    forms = sum(len(server.forms) for server in COMPARED)
    with tqdm(total=plan.rounds * (1 + forms) + 3 * plan.extra_rounds + 1, unit="step") as bar:
        found = rounds(plan, COMPARED, bar)
        if FASTAPI.name not in found.left_out:
            found.phone_photos = phone_photos(plan, bar)
        found.tails, found.overload = extremes(plan, found.ours[RAW].median("rate"), bar)
    return found


def main() -> None:
    """Compare this service with other servers, and write a table and a plot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=main.__doc__)
    add = parser.add_argument
    photos.add_arguments(parser)
    add("--rounds", type=int, default=5, metavar="N", help="[%(default)s]")
    add("--seconds", type=float, default=8, help="of each measurement [%(default)s]")
    add("--warm-up", type=float, default=2, metavar="SECONDS", help="[%(default)s]")
    add("--overload", type=float, default=60, metavar="SECONDS", help="[%(default)s]")
    add("--connections", type=int, default=8, metavar="N", help="[%(default)s]")
    add("--workers", type=int, default=machine.cpu_count(), metavar="N", help="processes per server [%(default)s]")
    add("--quick", action="store_true", help="one short round as a trial; writes only to --out")
    add("--out", type=Path, metavar="FOLDER", help=f"for the table and the plot [{OUT}]")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.warm_up, options.overload, options.most = 1, 2, 0.5, 5, 20
    images = photos.from_arguments(parser, options)
    stop_on_signals()
    where = machine.describe()
    numbers = ("rounds", "seconds", "warm_up", "overload", "connections", "workers")
    with tempfile.TemporaryDirectory() as folder:
        found = compare(Plan(images, Path(folder) / "log", *(getattr(options, name) for name in numbers)))
    found.machine = where
    found.source = f"{len(images)} {'photos' if options.photos else 'drawn images'}"
    print(comparison.describe(found))
    if out := options.out or (None if options.quick else OUT):
        comparison.write(found, out)


if __name__ == "__main__":
    main()

"""This service beside what people would pick instead: ``make bench``, or ``python -m benchmarks.compare``.

Each server is started in turn with the same photos and the same number of processes, round after round, so that
whatever else happens on the machine happens to all of them. Writes a table and a plot.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import limit, machine, payload, photos, report
from benchmarks.drive import RefusedError, Row, drive
from benchmarks.environments import NotInstalledError
from benchmarks.extremes import Overload, Tail, overload, tail
from benchmarks.phones import MEGAPIXELS, difference
from benchmarks.processes import NotStartedError, running, stop_when_told
from benchmarks.report import Comparison
from benchmarks.servers import COMPARED, OURS, PROTOTYPE, RAW, Server
from services.inference import cpus

OUT = Path("docs/benchmarks")
DISTINCT_PHONE_PHOTOS = 16
TAIL_LOAD = 0.7
OVERLOAD = 4.0


class Plan:
    """What to measure, and for how long."""

    def __init__(self, options: argparse.Namespace, pictures: Sequence[bytes], folder: Path) -> None:
        self.pictures = pictures
        self.workers: int = options.workers
        self.connections: int = options.connections
        self.rounds, self.seconds, self.warm_up = options.rounds, options.seconds, options.warm_up
        self.overload_seconds: float = options.overload
        self.folder = folder

    def log(self, server: Server) -> Path:
        """Where a server's output goes."""
        return self.folder / f"{server.name.partition(',')[0]}.log"


def rounds(plan: Plan, servers: Sequence[Server], bar: "tqdm[Any]") -> Comparison:
    """Measure every server and the limit once in each round, each time beginning with another one."""
    limits: list[limit.Limit] = []
    rows = {(server.name, form): Row(server.name, form) for server in servers for form in server.forms}
    left_out: dict[str, str] = {}
    for number in range(plan.rounds):
        bar.set_description("in-process limit")
        limits.append(limit.measure(plan.pictures, plan.workers, plan.seconds))
        bar.update()
        first = number % len(servers)
        for server in (*servers[first:], *servers[:first]):
            bar.set_description(server.name)
            if server.name not in left_out:
                try:
                    measure(plan, server, plan.pictures, rows)
                except (NotInstalledError, NotStartedError, RefusedError) as error:
                    if server is OURS:
                        raise
                    left_out[server.name] = str(error)
            bar.update(len(server.forms))
    kept = [row for row in rows.values() if row.name not in left_out]
    return Comparison(limits, kept, left_out, plan.workers, plan.connections)


def measure(plan: Plan, server: Server, pictures: Sequence[bytes], rows: dict[tuple[str, str], Row]) -> None:
    """Start a server and drive it, once in each of its forms that has a row.

    Raises:
        NotInstalledError: Its packages could not be had.
        NotStartedError: It did not get ready.
        RefusedError: It did not answer 200 to every request: whatever it took is not the time of a prediction.
    """
    with running(server, plan.log(server), plan.workers) as started:
        for form in server.forms:
            if row := rows.get((server.name, form)):
                run = drive(started, server, form, pictures, plan.seconds, plan.warm_up, plan.connections)
                if run.refused:
                    raise RefusedError(f"{server.name}, {form}: refused {run.refused:.1%} of the requests")
                row.runs.append(run)
                row.starts.append(started.start_seconds)


def phones(plan: Plan, bar: "tqdm[Any]") -> list[Row]:
    """Drive this service and the prototype with large photos."""
    large = list(photos.enlarge(plan.pictures[:DISTINCT_PHONE_PHOTOS], MEGAPIXELS))
    rows = {(server.name, RAW): Row(server.name, RAW) for server in (OURS, PROTOTYPE)}
    for _ in range(min(plan.rounds, 3)):
        for server in (OURS, PROTOTYPE):
            bar.set_description(f"12 megapixels: {server.name}")
            measure(plan, server, large, rows)
            bar.update()
    return list(rows.values())


def extremes(plan: Plan, highest: float, bar: "tqdm[Any]") -> tuple[list[Tail], Overload]:
    """Ask this service for somewhat less and for far more than it can do."""
    requests = payload.requests(plan.pictures, path=OURS.forms[RAW])
    with running(OURS, plan.log(OURS), plan.workers) as started:
        tails = []
        bar.set_description("tail")
        for _ in range(min(plan.rounds, 3)):
            tails.append(tail(started.url, requests, TAIL_LOAD * highest, 2 * plan.seconds))
            bar.update()
        bar.set_description("overload")
        return tails, overload(started.url, requests, highest, OVERLOAD, plan.overload_seconds)


def compare(plan: Plan, servers: Sequence[Server] = COMPARED) -> Comparison:
    """Measure everything, with a progress bar."""
    forms = sum(len(server.forms) for server in servers)
    some = min(plan.rounds, 3)
    with tqdm(total=plan.rounds * (1 + forms) + 3 * some + 1 + len(plan.pictures), unit="step") as bar:
        found = rounds(plan, servers, bar)
        found.phones = phones(plan, bar)
        found.tails, found.overload = extremes(plan, found.row(OURS.name, RAW).rate, bar)
        bar.update()
        bar.set_description("12 megapixels: scaled and whole decoding")
        found.difference = difference(plan.pictures, bar)
    return found


def main() -> None:
    """Compare this service with others, and write a table and a plot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=main.__doc__)
    add = parser.add_argument
    photos.argument(parser)
    add("--rounds", type=int, default=5, metavar="N", help="[%(default)s]")
    add("--seconds", type=float, default=8, help="of each measurement [%(default)s]")
    add("--warm-up", type=float, default=2, metavar="SECONDS", help="[%(default)s]")
    add("--overload", type=float, default=60, metavar="SECONDS", help="[%(default)s]")
    add("--connections", type=int, default=8, metavar="N", help="[%(default)s]")
    add("--workers", type=int, default=cpus.limit(), metavar="N", help="processes of each server [%(default)s]")
    add("--quick", action="store_true", help="one short round, to see whether all works; writes only to --out")
    add("--out", type=Path, metavar="FOLDER", help=f"where the table and the plot go [{OUT}]")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.warm_up, options.overload, options.most = 1, 2, 0.5, 5, 20
    pictures = photos.chosen(parser, options)
    stop_when_told()
    where = machine.describe()
    with tempfile.TemporaryDirectory() as folder:
        found = compare(Plan(options, pictures, Path(folder)))
    found.machine = where
    found.source = f"{len(pictures)} {'photos' if options.photos else 'drawn pictures'}"
    out = options.out or (None if options.quick else OUT)
    print(report.table(found))
    if out:
        report.write(found, out)


if __name__ == "__main__":
    main()

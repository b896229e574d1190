"""``python -m tests.fuzz.campaign --inputs 100000``: throw inputs at a running service, and say how it took them."""

import argparse
import collections
import concurrent.futures
import dataclasses
import functools
import subprocess
import tempfile
import time
from pathlib import Path
from random import Random

from tests.fuzz import corpus, mutations, wire
from tests.services.inference.serving import Service, service

WORKERS = 2
CONNECTIONS = 4
WARM_UP = 0.05  # of the inputs, until what is made at the first use is there: pools, plug-ins, buffers
BEGIN, END = "<!-- campaign -->\n", "<!-- end of campaign -->"
NO_ANSWER = "none: what was sent is not even the head of a request"
LOST = "none, though a request was sent"
EXPECTED = {200, 400, 404, 405, 408, 413, 415, 417, 422, 431, 501}  # 501: an unknown Transfer-Encoding


@dataclasses.dataclass
class Report:
    """How the service took the inputs."""

    seed: int
    inputs: int = 0
    statuses: collections.Counter[int | str] = dataclasses.field(default_factory=collections.Counter)
    unexpected: list[bytes] = dataclasses.field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    restarts: int = 0
    complaints: list[str] = dataclasses.field(default_factory=list)
    before: int = 0
    after: int = 0
    seconds: float = 0.0

    def add(self, name: str, request: bytes, statuses: list[int | str], seconds: float) -> None:
        self.inputs += 1
        self.statuses.update(statuses)
        self.slowest = max(self.slowest, (seconds, name))
        if not EXPECTED.union([NO_ANSWER]).issuperset(statuses):
            self.unexpected.append(request)

    def table(self) -> str:
        """The report in Markdown."""
        by_status = ", ".join(f"{status}: {count:,}" for status, count in sorted(self.statuses.items(), key=str))
        mega = 10**6
        rows = {
            "inputs": f"{self.inputs:,} (seed {self.seed}) in {self.seconds:,.0f} s",
            "answers by status": by_status,
            "unexpected answers (500, 502, 503, 504, or none)": len(self.unexpected),
            "workers that died": self.restarts,
            "warnings, errors and tracebacks in the log": len(self.complaints),
            "memory of both workers": f"{self.before / mega:.0f} MB before, {self.after / mega:.0f} MB after "
            f"({self.after / self.before - 1:+.1%})",
            "slowest answer": f"{self.slowest[0]:.1f} s ({self.slowest[1]})",
        }
        return "\n".join(["| what | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])


def run(folder: Path, inputs: int, seed: int, corpora: bool = False, **settings: object) -> Report:
    """Start a service, send it so many mutated inputs, and stop it.

    Args:
        folder: For the service's log.
        inputs: How many mutated inputs.
        seed: The same seed makes the same inputs.
        corpora: Send all that is mutated as it is, too, and the largest pictures that are accepted.
        settings: Of the service, such as ``MODEL_DIR``.
    """
    report = Report(seed)
    with service(folder, WORKERS=WORKERS, **settings) as running:
        running.wait_for_workers(WORKERS)
        started = time.monotonic()
        for name, make in _whole() if corpora else ():
            _send(report, running, name, make())
        warm_up = int(inputs * WARM_UP)
        _storm(report, running, range(warm_up))
        report.before = _memory(running)
        _storm(report, running, range(warm_up, inputs))
        report.after = _memory(running)
        report.seconds = time.monotonic() - started
        lines = running.lines()
    report.restarts = sum("Booting worker" in str(line.get("message")) for line in lines) - WORKERS
    report.complaints = [str(line) for line in lines if line["level"] != "INFO" or "exc_info" in line]
    return report


def _whole():
    sorts = (corpus.HARMLESS, corpus.NOT_PICTURES, corpus.BOMBS, corpus.BROKEN, corpus.TRUNCATED, corpus.LARGEST)
    for sort in sorts:
        for name, make in sort.items():
            yield name, lambda make=make: wire.post(make())
    for requests in (wire.FILE_NAMES, wire.ODD, wire.REFUSED, wire.SMUGGLING):
        yield from requests.items()


def _storm(report: Report, running: Service, numbers: range) -> None:
    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(functools.partial(_one, report, running), numbers))


def _one(report: Report, running: Service, number: int) -> None:
    _send(report, running, f"mutated input {number}", mutations.request(Random(f"{report.seed} {number}")))


def _send(report: Report, running: Service, name: str, request: bytes) -> None:
    started = time.monotonic()
    try:
        statuses: list[int | str] = [answer.status for answer in wire.exchange(running.port, request)]
    except TimeoutError:
        statuses = [LOST]
    if not statuses:
        statuses = [LOST if b"\r\n\r\n" in request else NO_ANSWER]
    report.add(name, request, statuses, time.monotonic() - started)


def _memory(running: Service) -> int:
    """Resident bytes of all workers."""
    pids = ",".join(map(str, running.workers()))
    text = subprocess.run(["ps", "-o", "rss=", "-p", pids], capture_output=True, text=True, check=True).stdout
    return 1024 * sum(map(int, text.split()))


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="mutated inputs, besides the corpora")
    parser.add_argument("--only-mutated", action="store_true", help="leave the corpora themselves out")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same inputs")
    parser.add_argument("--model", type=Path, default=Path("models/champion"), help="the bundle to serve")
    parser.add_argument("--into", type=Path, help="a Markdown file to put the table into, between its marks")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = run(
            Path(folder), arguments.inputs, arguments.seed, not arguments.only_mutated, MODEL_DIR=arguments.model
        )
    print(report.table())  # noqa: T201
    for complaint in [*report.complaints, *report.unexpected][:10]:
        print(f"\n{str(complaint)[:2000]}")  # noqa: T201
    if arguments.into:
        head, _, rest = arguments.into.read_text().partition(BEGIN)
        arguments.into.write_text(f"{head}{BEGIN}{report.table()}\n{END}{rest.partition(END)[2]}")
    raise SystemExit(bool(report.complaints or report.unexpected or report.restarts))


if __name__ == "__main__":
    main()

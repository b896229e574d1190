"""Send random hostile inputs to a running service: ``python -m tests.fuzz.campaign --inputs 100000``."""

import argparse
import collections
import concurrent.futures
import dataclasses
import subprocess
import tempfile
import time
from pathlib import Path
from random import Random

from services.inference.worker import TLS_HANDSHAKE
from tests.fuzz import corpus, mutations, wire
from tests.fuzz.conftest import complaints
from tests.services.inference.serving import Service, service

WORKERS = 2
CONNECTIONS = 4
WARM_UP = 0.05  # of the inputs, before memory is measured
NO_ANSWER = "none: the input is not even the head of a request"
LOST = "none, though a request was sent"
EXPECTED = {200, 400, 404, 405, 408, 413, 414, 415, 417, 422, 431, 501, 505, NO_ANSWER}


@dataclasses.dataclass
class Report:
    """Answers to the inputs, and harm done to the service."""

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
        if not EXPECTED.issuperset(statuses):
            self.unexpected.append(request)

    def table(self) -> str:
        """Format the report as Markdown."""
        by_status = ", ".join(f"{status}: {count:,}" for status, count in sorted(self.statuses.items(), key=str))
        rows = {
            "inputs": f"{self.inputs:,} (seed {self.seed}) in {self.seconds:,.0f} s",
            "answers by status": by_status,
            "unexpected answers (5xx, or none)": len(self.unexpected),
            "workers that died": self.restarts,
            "warnings, errors and tracebacks in the log": len(self.complaints),
            "memory of both workers": f"{self.before / 1e6:.0f} MB before, {self.after / 1e6:.0f} MB after "
            f"({self.after / self.before - 1:+.1%})",
            "slowest answer": f"{self.slowest[0]:.1f} s ({self.slowest[1]})",
        }
        return "\n".join(["| what | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])


def run(folder: Path, inputs: int, seed: int, corpora: bool = False, **settings: object) -> Report:
    """Start a service with these settings, and send it mutated inputs, optionally after the corpora themselves."""
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
        report.complaints = complaints(running)
        lines = running.lines()
    report.restarts = sum("Booting worker" in str(line.get("message")) for line in lines) - WORKERS
    return report


def _whole():
    for makes in (*mutations.IMAGES, corpus.LARGEST):
        for name, make in makes.items():
            yield name, lambda make=make: wire.post(make())
    for requests in mutations.REQUESTS:
        yield from requests.items()


def _storm(report: Report, running: Service, numbers: range) -> None:
    def send(number: int) -> None:
        request = mutations.request(Random(f"{report.seed} {number}"))
        _send(report, running, f"mutated input {number}", request)

    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(send, numbers))


def _send(report: Report, running: Service, name: str, request: bytes) -> None:
    started = time.monotonic()
    try:
        statuses: list[int | str] = [answer.status for answer in wire.exchange(running.port, request)]
    except TimeoutError:
        statuses = [LOST]
    if not statuses:
        # TLS is ended without an answer.
        is_request = b"\r\n\r\n" in request and not request.startswith(TLS_HANDSHAKE)
        statuses = [LOST if is_request else NO_ANSWER]
    report.add(name, request, statuses, time.monotonic() - started)


def _memory(running: Service) -> int:
    """Sum the resident bytes of all workers."""
    pids = ",".join(map(str, running.workers()))
    text = subprocess.run(["ps", "-o", "rss=", "-p", pids], capture_output=True, text=True, check=True).stdout
    return 1024 * sum(map(int, text.split()))


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="mutated inputs, besides the corpora")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same inputs")
    parser.add_argument("--model", type=Path, default=Path("models/champion"), help="the bundle to serve")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = run(Path(folder), options.inputs, options.seed, corpora=True, MODEL_DIR=options.model)
    print(report.table())  # noqa: T201
    for complaint in [*report.complaints, *report.unexpected][:10]:
        print(f"\n{str(complaint)[:2000]}")  # noqa: T201
    raise SystemExit(bool(report.complaints or report.unexpected or report.restarts))


if __name__ == "__main__":
    main()

"""How long what goes wrong is felt: ``python -m tests.faults.figures [--into docs/reliability.md]``.

The tests of this folder say what holds; nothing in them depends on a time.
"""

import argparse
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import describe
from tests import bundles
from tests import drawn_images as pictures
from tests.faults.slow_clients import IDLE, SLOW, latencies, misbehaving
from tests.services.inference.serving import Service, service

TIMES = 10
TURNS, SECONDS = 5, 6.0
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->"
PICTURE = pictures.noise(size=(450, 374))


def respawn(running: Service) -> float:
    """Kill a worker; seconds until another is ready to serve."""
    before = running.loaded()
    os.kill(min(before), signal.SIGKILL)
    begin = time.monotonic()
    while not running.loaded() - before:
        time.sleep(0.005)
    return time.monotonic() - begin


def reload(running: Service) -> float:
    """Have the bundle read again while a client asks on; its longest wait, seconds."""
    waits: list[float] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            begin = time.perf_counter()
            running.send(PICTURE).raise_for_status()
            waits.append(time.perf_counter() - begin)

    client = threading.Thread(target=ask)
    client.start()
    before = set(running.workers())
    running.process.send_signal(signal.SIGHUP)
    while before & set(running.workers()) or len(running.loaded()) != 2:
        time.sleep(0.02)
    over.set()
    client.join()
    return max(waits)


def p99(seconds: Sequence[float]) -> float:
    """In milliseconds."""
    return statistics.quantiles(seconds, n=100)[98] * 1000


def measure(running: Service) -> str:
    """All figures, as a table."""
    latencies(running.port, 2, PICTURE)
    alone, among = [], []
    for _ in range(TURNS):
        alone += latencies(running.port, SECONDS, PICTURE)
        with misbehaving(running):
            among += latencies(running.port, SECONDS, PICTURE)
    kills = [respawn(running) for _ in range(TIMES)]
    waits = [reload(running) for _ in range(TIMES)]
    slow = f"{IDLE:,} idle connections and {4 * SLOW} slow, stalled, half-closed and oversize uploads"
    return (
        f"| what | |\n| --- | --- |\n| machine | {describe()} |\n"
        f"| from SIGKILL of a worker to another that serves, {TIMES} times | {statistics.median(kills):.2f} s, at most "
        f"{max(kills):.2f} s |\n"
        f"| longest wait of a client during a reload, {TIMES} times | {statistics.median(waits):.2f} s, at most "
        f"{max(waits):.2f} s |\n"
        f"| p99 of a healthy client alone, 50 requests a second | {p99(alone):.1f} ms |\n"
        f"| among {slow} | {p99(among):.1f} ms: × {p99(among) / p99(alone):.2f} |\n"
    )


def main() -> int:
    """Start a service with two workers and THREADS=50, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.figures", description=main.__doc__)
    parser.add_argument("--into", type=Path, help="write the table between the marks in this page, too")
    page = parser.parse_args().into
    with tempfile.TemporaryDirectory() as folder:
        bundle = bundles.write(Path(folder) / "model")
        with service(Path(folder), MODEL_DIR=bundle, THREADS=50) as running:
            running.wait_for_workers()
            table = measure(running)
    sys.stdout.write(table)
    if page:
        before, _, rest = page.read_text().partition(BEGIN)
        page.write_text(before + BEGIN + table + END + rest.partition(END)[2])
    return 0


if __name__ == "__main__":
    sys.exit(main())

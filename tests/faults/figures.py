"""Measure how long faults are felt: ``python -m tests.faults.figures`` prints the table of docs/reliability.md."""

import os
import signal
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe
from tests import bundles, drawn_images
from tests.faults.clients import clients
from tests.faults.slow_clients import latencies, misbehaving
from tests.faults.test_reload import reload
from tests.services.inference.serving import Service, service

TIMES = 10
TURNS, SECONDS = 5, 6.0
IMAGE = drawn_images.noise(size=(450, 374))


def respawn_seconds(running: Service) -> float:
    """Kill a worker, and wait until another is ready to serve."""
    before = running.loaded()
    os.kill(min(before), signal.SIGKILL)
    begin = time.monotonic()
    while not running.loaded() - before:
        time.sleep(0.005)
    return time.monotonic() - begin


def reload_wait(running: Service) -> float:
    """Reload the bundle while a client sends images; return the client's longest wait in seconds."""
    with clients(1, [running.port], IMAGE) as (client,):
        reload(running)
    return client.longest


def p99(seconds: list[float]) -> float:
    """Return the 99th percentile in milliseconds."""
    return statistics.quantiles(seconds, n=100)[98] * 1000


def main() -> None:
    """Run as a command."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with service(folder, MODEL_DIR=bundles.write(folder / "model")) as running:
            running.wait_for_workers()
            latencies(running, 2, IMAGE)
            alone, among = [], []
            for _ in range(TURNS):
                alone += latencies(running, SECONDS, IMAGE)
                with misbehaving(running):
                    among += latencies(running, SECONDS, IMAGE)
            kills = [respawn_seconds(running) for _ in range(TIMES)]
            waits = [reload_wait(running) for _ in range(TIMES)]
    rows = {
        "what": "",
        "---": "---",
        "machine": describe(),
        f"from SIGKILL of a worker to another that serves, {TIMES} times": _seconds(kills),
        f"longest wait of a client during a reload, {TIMES} times": _seconds(waits),
        "p99 of a healthy client alone, 50 requests a second": f"{p99(alone):.1f} ms",
        "among 1,000 idle connections and slow, stalled, half-closed and oversize uploads": f"{p99(among):.1f} ms: "
        f"× {p99(among) / p99(alone):.2f}",
    }
    for row, value in rows.items():
        print(f"| {row} | {value} |")  # noqa: T201


def _seconds(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} s, at most {max(values):.2f} s"


if __name__ == "__main__":
    main()

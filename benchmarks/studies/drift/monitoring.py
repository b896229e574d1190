"""Send a window of images to the real service, watched by a real Prometheus with the repository's rules."""

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.servers import OURS
from benchmarks.servers.process import ROOT, running

RULES = ROOT / "kustomize/base/prometheus/drift.yml"
SECONDS = 120.0
DISTANCE = "job_signal:prediction_signal_position:distance1h"
CONFIG = """\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: mlops-service
    static_configs: [{{targets: ["{target}"]}}]
"""


@dataclass(frozen=True)
class Watched:
    """Findings of Prometheus in a window.

    Attributes:
        alerts: Signals, or alerts without a signal, in the window of an hour; pending their five minutes.
        images: Their number, extrapolated from the first and last scrape to the window.
        distances: Kolmogorov-Smirnov distance by signal.
    """

    alerts: set[str]
    images: float
    distances: dict[str, float]


def watch(images: Sequence[bytes], folder: Path) -> Watched:
    """Send images to a fresh service, and return what a fresh Prometheus makes of them."""
    with running(OURS, folder / "service.log", workers=2) as server:
        target = server.url.removeprefix("http://")
        with _prometheus(folder, target) as address:
            _wait(address, 'count(prediction_signal_position_count{source="client"})')
            time.sleep(3)  # scrapes at zero: a counter's first value is no increase
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda image: _send(server.url, image), images))
            _wait(address, f'sum(predictions_total{{source="client"}}) == {len(images)}')
            time.sleep(5)  # the rules follow
            found = _query(address, 'ALERTS{window="1h"}')
            names = {one.get("signal", one["alertname"]) for one, _ in found}
            ((_, number),) = _query(address, "job:predictions:increase1h")
            return Watched(names, number, {one["signal"]: value for one, value in _query(address, DISTANCE)})


def _send(url: str, image: bytes) -> None:
    request = urllib.request.Request(f"{url}/predict", image, {"Content-Type": "image/jpeg"})  # noqa: S310  # always http
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        response.read()


@contextlib.contextmanager
def _prometheus(folder: Path, target: str) -> Iterator[str]:
    program = shutil.which("prometheus")
    if program is None:
        raise SystemExit("Install prometheus: on Debian and Ubuntu, apt install prometheus.")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    data = folder / "prometheus-data"
    shutil.rmtree(data, ignore_errors=True)
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.format(rules=RULES, target=target))
    options = [f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([program, *options], stdout=log, stderr=subprocess.STDOUT)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _query(address: str, expression: str) -> list[tuple[dict[str, str], float]]:
    url = f"{address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310  # always http
        answer: dict[str, Any] = json.load(response)
    return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]


def _wait(address: str, condition: str) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        with contextlib.suppress(OSError):
            if _query(address, condition):
                return
        if time.monotonic() > deadline:
            raise SystemExit(f"Prometheus did not see this within {SECONDS:g} s: {condition}")
        time.sleep(0.5)

"""The prediction service under real gunicorn, and what it wrote."""

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from tests import servers

COMMAND = ("-m", "gunicorn", "-c", "services/inference/gunicorn.conf.py", "services.inference.app:create_app()")


@dataclass
class Service:
    """A running service."""

    address: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def predict(self, *pictures: bytes, **options: Any) -> requests.Response:
        """Send pictures as a form."""
        files = [("file", (f"private-{number}.jpg", picture)) for number, picture in enumerate(pictures)]
        return requests.post(f"{self.address}/predict", files=files, timeout=30, **options)

    def send(self, body: Any, kind: str = "image/jpeg") -> requests.Response:
        """Send a body as it is."""
        return requests.post(f"{self.address}/predict", data=body, headers={"Content-Type": kind}, timeout=30)

    def connect(self, data: bytes = b"") -> socket.socket:
        """Connect below HTTP, and send these bytes."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(data)
        return connection

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.address + path, timeout=30, **options)

    def samples(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample of /metrics, by name and labels."""
        families = text_string_to_metric_families(self.get("/metrics").text)
        return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}

    def metric(self, sample: str, **labels: str) -> float:
        """The sum of the samples of that name with at least those labels."""
        found = [v for (n, pairs), v in self.samples().items() if n == sample and pairs >= frozenset(labels.items())]
        assert found, f"no sample of {sample} with {labels}"
        return sum(found)

    def lines(self) -> list[dict[str, Any]]:
        """The log, each line of which must be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def lines_at(self, *levels: str) -> list[dict[str, Any]]:
        """The lines of the log with one of these levels."""
        return [line for line in self.lines() if line["level"] in levels]

    def line(self, request_id: str) -> dict[str, Any]:
        """The one log line of a request."""
        deadline = time.monotonic() + 5
        while not (found := [e for e in self.lines() if e.get("request_id") == request_id and "status" in e]):
            assert time.monotonic() < deadline, f"no log line for {request_id}"
            time.sleep(0.05)
        assert len(found) == 1
        return found[0]

    def wait_for_workers(self, count: int = 2) -> None:
        """Wait until that many workers have loaded the model."""
        deadline = time.monotonic() + 30
        # The metric knows only of workers that are through with it: one that still loads would not be waited for.
        while len(self.loaded()) != count or self.metric("model_ready") != 1:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def loaded(self) -> set[int]:
        """Process ids of the workers that have loaded the model."""
        said = {line["process"] for line in self.lines() if line.get("message") == "model loaded"}
        return said & set(self.workers())

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        text = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        return [int(pid) for pid, parent in map(str.split, text.splitlines()) if int(parent) == self.process.pid]


@contextlib.contextmanager
def service(folder: Path, around: Callable[[list[str]], list[str]] = list, **settings: Any) -> Iterator[Service]:
    """Run the service with these settings until the block ends; ``around`` may put a command around its own."""
    port = servers.free_port()
    # gunicorn waits that long for connections that a test still holds open.
    env = {"PORT": str(port), "WORKERS": "2", "GRACEFUL_TIMEOUT": "1"} | {
        name: str(value) for name, value in settings.items()
    }
    log = folder / f"gunicorn-{port}.log"
    with servers.running(around([sys.executable, *COMMAND]), log, env) as process:
        address = f"http://127.0.0.1:{port}"
        servers.wait_for(f"{address}/health", process, log)
        yield Service(address, port, process, log)


def start_error(tmp_path: Path, **settings: str) -> tuple[int, str]:
    """Start the service with settings that it should refuse; give its exit status and all it said."""
    port = str(servers.free_port())
    log = tmp_path / "refused.log"
    with servers.running([sys.executable, *COMMAND], log, {"PORT": port} | settings) as process:
        status = process.wait(30)
    return status, log.read_text()

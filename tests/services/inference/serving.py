"""The prediction service under real gunicorn, and its log."""

import contextlib
import json
import signal
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

    def predict(self, *images: bytes, **options: Any) -> requests.Response:
        """Send images as a form."""
        files = [("file", (f"private-{number}.jpg", image)) for number, image in enumerate(images)]
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
        """Return every sample of /metrics, by name and labels."""
        families = text_string_to_metric_families(self.get("/metrics").text)
        return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}

    def metric(self, sample: str, **labels: str) -> float:
        """Add up the samples of this name with at least these labels."""
        found = [v for (n, pairs), v in self.samples().items() if n == sample and pairs >= frozenset(labels.items())]
        assert found, f"no sample of {sample} with {labels}"
        return sum(found)

    def lines(self) -> list[dict[str, Any]]:
        """Return the log, each line of which must be JSON; the last one may be half written."""
        complete, _, _ = self.log.read_text().rpartition("\n")
        return [json.loads(line) for line in complete.splitlines()]

    def lines_at(self, *levels: str) -> list[dict[str, Any]]:
        """Return the lines of the log with one of these levels."""
        return [line for line in self.lines() if line["level"] in levels]

    def line(self, request_id: str) -> dict[str, Any]:
        """Return the one log line of a request."""
        self.wait_until(lambda: any(line.get("request_id") == request_id and "status" in line for line in self.lines()))
        (found,) = [line for line in self.lines() if line.get("request_id") == request_id and "status" in line]
        return found

    def wait_until(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Wait until a condition holds, or fail with the log."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def wait_for_workers(self, count: int = 2) -> None:
        """Wait until that many workers have loaded the model."""
        # The metric knows only of workers that have set it: one that still loads would not be waited for.
        self.wait_until(lambda: len(self.loaded()) == count and self.metric("model_ready") == 1)

    def reload(self, count: int = 2) -> None:
        """Send SIGHUP, and wait until that many new workers have loaded the model and no old one is left."""
        before = set(self.workers())
        self.process.send_signal(signal.SIGHUP)
        self.wait_until(lambda: not before & set(self.workers()))
        self.wait_for_workers(count)

    def loaded(self) -> set[int]:
        """Return the process ids of the workers that have loaded the model."""
        return {line["process"] for line in self.lines() if line.get("message") == "model loaded"} & set(self.workers())

    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
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


def start_error(tmp_path: Path, **settings: object) -> tuple[int, str]:
    """Start the service with settings that it should refuse; return its exit status and its output."""
    log = tmp_path / "refused.log"
    env = {"PORT": str(servers.free_port())} | {name: str(value) for name, value in settings.items()}
    with servers.running([sys.executable, *COMMAND], log, env) as process:
        status = process.wait(30)
    return status, log.read_text()

"""Run real servers for tests, on free ports of 127.0.0.1."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "contract" / "golden" / "settings.json"
SETTINGS = {"GUNICORN_CMD_ARGS"} | {name for settings in json.loads(GOLDEN.read_text()).values() for name in settings}
# Below the ports that the system takes for outgoing connections; each process begins elsewhere.
PORTS = range(10_000, 32_000)
_next_port = random.Random(os.getpid()).choice(PORTS)


def environment() -> dict[str, str]:
    """Return the environment without settings of the user and proxies of a company."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in SETTINGS and not name.startswith("MLFLOW_") and not name.lower().endswith("_proxy")
    }


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return ports that no program listens on, and none of them twice."""
    global _next_port
    found: list[int] = []
    while len(found) < count:
        _next_port = PORTS.start + (_next_port + 1 - PORTS.start) % len(PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", _next_port))
            found.append(_next_port)
    return found


def wait_for(
    url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 180, verify: bool | str = True
) -> None:
    """Wait until ``url`` answers 200; fail with the log of the server if it ends or never does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode} before {url} answered:\n{log.read_text()}")
        with contextlib.suppress(requests.RequestException):
            if requests.get(url, timeout=5, verify=verify).status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(f"{url} did not answer in {seconds} s:\n{log.read_text()}")


@contextlib.contextmanager
def running(command: list[str], log: Path, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command from the root of the repository until the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment() | (env or {}),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextlib.contextmanager
def mlflow_server(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run a real MLflow server with a sqlite store in ``folder``; yield its address."""
    port = port or free_port()
    address = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"),
    ]
    log = folder / "mlflow-server.log"
    # The job workers, which no test uses, double the time of the start.
    with running(command, log, {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}) as process:
        wait_for(f"{address}/health", process, log)
        yield address

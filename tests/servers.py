"""Real servers for tests: started on free ports of 127.0.0.1, stopped by their process id."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import requests

from services.inference import settings as inference
from services.monitor import settings as monitor

ROOT = Path(__file__).resolve().parent.parent


# What a person may have set for their own servers, or a company for all that its machines ask.
SETTINGS = {
    *(name.upper() for name in inference.Settings.model_fields),
    *(name.upper() for name in monitor.Settings.model_fields),
    *("MONITOR_INTERVAL", "STATE_DIR", "PROMETHEUS_PORT", "PROMETHEUS_MULTIPROC_DIR", "GUNICORN_CMD_ARGS"),
}


def environment() -> dict[str, str]:
    """The environment without anything that would change what a server of a test does."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in SETTINGS and not name.startswith("MLFLOW_") and not name.lower().endswith("_proxy")
    }


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, no two the same: the system may give one again when it is let go."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]


def wait_for(
    url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 60, verify: bool | str = True
) -> None:
    """Wait until ``url`` answers 200; fail with the server's own log if it ends or never does."""
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
    """Run a command from the repository's root until the block ends; its whole process group is ended with it."""
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
    """Run a real MLflow server with a sqlite store in ``folder``; gives its address."""
    port = port or free_port()
    address = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"),
    ]
    log = folder / "mlflow-server.log"
    # Nothing here uses its job workers, and they are half of its start.
    with running(command, log, {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}) as process:
        wait_for(f"{address}/health", process, log)
        yield address

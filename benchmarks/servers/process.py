"""Start a server, and measure CPU time and memory of all its processes."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.servers import FOLDER, Server, environment

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 90.0
STOP_SECONDS = 20.0


class NotStartedError(Exception):
    """A server did not get ready; the message has the end of its log."""


@dataclass(frozen=True)
class Running:
    """A server that is ready."""

    server: Server
    url: str
    start_seconds: float
    """From the start of the process to the first 200 of its readiness route."""
    process: psutil.Process

    def memory(self) -> int:
        """Sum up the memory of all processes in bytes; shared pages count once where PSS exists."""
        infos = [process.memory_full_info() for process in self._all()]
        return sum(getattr(info, "pss", info.uss) for info in infos)

    def cpu_seconds(self) -> float:
        """Sum up the CPU time of all processes so far."""
        times = [process.cpu_times() for process in self._all()]
        return sum(one.user + one.system for one in times)

    def _all(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


@contextlib.contextmanager
def running(server: Server, log: Path, workers: int) -> Iterator[Running]:
    """Run a server until the block ends.

    Args:
        server: The server.
        log: File for its output.
        workers: Number of worker processes.

    Raises:
        NotInstalledError: Its packages could not be installed.
        NotStartedError: It exited, or was not ready in time.
    """
    values = {"port": str(_free_port()), "workers": str(workers)}
    arguments = [argument.format_map(values) for argument in server.arguments]
    interpreter = environment.python(FOLDER / server.folder, server.shares_torch) if server.folder else sys.executable
    command = [str(interpreter), "-m", server.module, *arguments]
    settings = {name: value.format_map(values) for name, value in server.environment.items()}
    # There is a process for each CPU: more threads would compete for the same CPUs.
    variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | settings
    url = f"http://127.0.0.1:{values['port']}"
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, env=variables, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        while not _is_ready(url + server.ready):
            if process.poll() is not None or time.perf_counter() > start + START_SECONDS:
                end = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
                raise NotStartedError(f"{server.name} did not start; the end of {log}:\n{end}")
            time.sleep(0.01)
        yield Running(server, url, time.perf_counter() - start, psutil.Process(process.pid))
    finally:
        _stop(process)


def stop_on_signals() -> None:
    """Raise KeyboardInterrupt on SIGTERM and SIGINT, so that ``running`` stops its server."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # some servers leave children behind
    process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  # always http
            return bool(response.status == 200)
    except OSError:
        return False

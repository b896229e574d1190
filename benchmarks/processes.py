"""Starts a server, and reads what all of its processes take."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import environments
from benchmarks.servers import Server

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 90.0
STOP_SECONDS = 20.0


class NotStartedError(Exception):
    """A server did not get ready; the message has the end of its log."""


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    url: str
    start_seconds: float
    """From the process's start to its first 200 at the path that says so."""
    process: psutil.Process

    def _all(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def memory(self) -> int:
        """Bytes of all its processes; what several share counts once (proportional set size, where there is one)."""
        infos = [process.memory_full_info() for process in self._all()]
        return sum(getattr(info, "pss", info.uss) for info in infos)

    def processor_seconds(self) -> float:
        """Processor time that all its processes have taken so far."""
        times = [process.cpu_times() for process in self._all()]
        return sum(one.user + one.system for one in times)


@contextlib.contextmanager
def running(server: Server, log: Path, workers: int) -> Iterator[Running]:
    """Run a server until the block ends.

    Args:
        server: Which.
        log: Where its output goes.
        workers: How many processes it shall have.

    Raises:
        NotInstalledError: Its packages could not be had.
        NotStartedError: It ended by itself, or was not ready in time.
    """
    fill = {"port": str(_free_port()), "workers": str(workers)}
    arguments = [argument.format_map(fill) for argument in server.arguments]
    command = [str(environments.python(server)), "-m", server.module, *arguments]
    settings = {name: value.format_map(fill) for name, value in server.environment.items()}
    # Each process is one of as many as there are processors: more threads would only be in each other's way.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | settings
    url = f"http://127.0.0.1:{fill['port']}"
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        while not _answers(url + server.ready):
            if process.poll() is not None or time.perf_counter() > start + START_SECONDS:
                end = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
                raise NotStartedError(f"{server.name} did not start; the end of {log}:\n{end}")
            time.sleep(0.01)
        yield Running(url, time.perf_counter() - start, psutil.Process(process.pid))
    finally:
        _stop(process)


def stop_when_told() -> None:
    """End this process's servers too when it is ended: with SIGTERM, or from a shell's background with SIGINT."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    # Some leave children behind.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # always http
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False

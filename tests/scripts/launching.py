"""Runs the launcher as a process, on free ports, with a state folder of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests import servers

LAUNCHER = [sys.executable, "-m", "scripts.up"]
OURS = ("PORT", "MLFLOW_PORT", "PROMETHEUS_PORT", "MODEL_DIR", "STATE_DIR", "MLFLOW_TRACKING_URI", "MONITOR_INTERVAL")


def environment(folder: Path, **settings: object) -> dict[str, str]:
    """Free ports and a state folder; ``settings`` replace and add."""
    inherited = {name: value for name, value in os.environ.items() if name not in OURS}
    ports = {name: str(servers.free_port()) for name in ("PORT", "MLFLOW_PORT", "PROMETHEUS_PORT")}
    own = ports | {"STATE_DIR": str(folder / "state"), "MODEL_DIR": str(folder / "bundle"), "WORKERS": "2"}
    return inherited | own | {name: str(value) for name, value in settings.items()}


class Launched:
    """A launcher that runs, and what it has printed."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def printed(self) -> str:
        return self._output.read_text()

    def wait_for(self, text: str, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.printed:
            ended = self.process.poll() is not None
            assert not ended or text in self.printed, f"ended before it printed {text!r}:\n{self.printed}"
            assert time.monotonic() < deadline, f"did not print {text!r}:\n{self.printed}"
            time.sleep(0.1)

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@contextlib.contextmanager
def launched(folder: Path, env: Mapping[str, str], *arguments: str) -> Iterator[Launched]:
    output = folder / "launcher.out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*LAUNCHER, *arguments],
            cwd=servers.ROOT,
            env=env,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Launched(process, output)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


def processes_of(folder: Path) -> list[str]:
    """Command lines of all processes whose environment names the folder: children and grandchildren too."""
    mark = f"STATE_DIR={folder / 'state'}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found

"""Runs the launcher as a process, on free ports, with a state folder of its own."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests import servers

LAUNCHER = [sys.executable, "-m", "scripts.up"]


def environment(folder: Path, **settings: object) -> dict[str, str]:
    """Free ports and a state folder; ``settings`` replace and add."""
    ports = dict(zip(("PORT", "MLFLOW_PORT", "PROMETHEUS_PORT"), map(str, servers.free_ports(3)), strict=True))
    own = ports | {"STATE_DIR": str(folder / "state"), "MODEL_DIR": str(folder / "bundle"), "WORKERS": "1"}
    return servers.environment() | own | {name: str(value) for name, value in settings.items()}


@dataclass(frozen=True)
class Child:
    """A process below another one."""

    pid: int
    parent: int
    command: str


class Launched:
    """A launcher that runs, what it has printed, and the processes that it has."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output
        self._seen: set[int] = set()

    @property
    def printed(self) -> str:
        return self._output.read_text()

    def wait_for(self, text: str, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.printed:
            ended = self.process.poll() is not None
            assert not ended or text in self.printed, f"ended before it printed {text!r}:\n{self.printed}"
            assert time.monotonic() < deadline, f"did not print {text!r}:\n{self.printed}"
            self.children()
            time.sleep(0.1)

    def wait(self, seconds: float = 60) -> int:
        deadline = time.monotonic() + seconds
        while (code := self.process.poll()) is None:
            assert time.monotonic() < deadline, f"did not end:\n{self.printed}"
            self.children()
            time.sleep(0.1)
        return code

    def end(self, number: int = signal.SIGINT) -> int:
        self.children()
        self.process.send_signal(number)
        return self.wait()

    def children(self) -> list[Child]:
        """All processes below it at present, those of its children too."""
        below = {self.process.pid}
        listed = _processes()
        found = []
        while more := [child for child in listed if child.parent in below and child.pid not in below]:
            below |= {child.pid for child in more}
            found += more
        self._seen |= {child.pid for child in found}
        return found

    def left(self) -> list[str]:
        """Command lines of those that are still there, whoever their parent is now."""
        return [child.command for child in _processes() if child.pid in self._seen]


def _processes() -> list[Child]:
    # Not /proc: macOS has none.
    listing = ["ps", "-eo", "pid=,ppid=,stat=,args="]
    lines = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.splitlines()
    fields = [line.split(None, 3) for line in lines]
    return [
        Child(int(pid), int(parent), command) for pid, parent, state, command in fields if not state.startswith("Z")
    ]


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

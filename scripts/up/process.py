"""A started part: its process, with all that it starts in turn, and its log."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from scripts.up.services import Service

TAIL = 15


class Process:
    """A service that was started."""

    def __init__(self, service: Service, logs: Path, append: bool = False) -> None:
        """Start it; what it prints goes to a file named as it is."""
        self.service = service
        self.log = logs / f"{service.name}.log"
        logs.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab" if append else "wb") as output:
            # A session of its own: Ctrl-C in the terminal reaches the launcher alone, which ends all in order.
            self._popen = subprocess.Popen(
                service.command,
                cwd=service.folder,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | service.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._popen.poll()

    def tail(self) -> str:
        """The last lines of its log, indented."""
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL:]
        return "\n".join(f"    {line}" for line in lines) or "    (its log is empty)"

    def signal(self, number: int) -> None:
        """Send a signal to the process itself."""
        if self.exit_code() is None:
            self._popen.send_signal(number)

    def kill_group(self) -> None:
        """End whatever is left of the process and of what it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: a group of zombies
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()

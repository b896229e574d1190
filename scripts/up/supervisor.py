"""Starts processes, waits until they answer, keeps them running, and ends them."""

import contextlib
import signal
import time
from pathlib import Path

from scripts.up.ports import answers
from scripts.up.process import Process
from scripts.up.services import Service
from scripts.up.signals import Signals

TICK = 0.1
START_LIMIT = 180
STOP_LIMIT = 10
REPORT_EVERY = 5
# One that ends sooner than this after its start will end again: a setting or a file is wrong.
SHORT_LIFE = 10


class FailedError(Exception):
    """A process cannot be kept running; the message shows the end of its log."""


def say(text: str) -> None:
    """Print, also when the terminal is gone already."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def unusable(error: OSError) -> str:
    """A sentence for a file or folder of the state that cannot be made or written."""
    what = error.filename or "The state folder"
    return f"{what} cannot be used ({error.strerror}): set STATE_DIR to a folder that you may write to."


class Supervisor:
    """The processes of one run of the launcher; as a context it ends them."""

    def __init__(self, logs: Path, signals: Signals) -> None:
        """Start nothing yet.

        Args:
            logs: Folder for one log per process.
            signals: Looked at while waiting.
        """
        self._logs = logs
        self._signals = signals
        self.processes: dict[str, Process] = {}
        self._up: set[str] = set()

    def __enter__(self) -> "Supervisor":
        """Nothing to prepare."""
        return self

    def __exit__(self, *_: object) -> None:
        """End everything, whatever happened."""
        self.stop()

    def start(self, service: Service) -> None:
        """Start a process, or start it again."""
        again = service.name in self.processes
        self.processes[service.name] = Process(service, self._logs, append=again)

    def wait_until_up(self) -> bool:
        """Wait for all that have an address and did not answer yet; False if a signal came first.

        Raises:
            FailedError: One ended, or does not answer for too long.
        """
        begin = reported = time.monotonic()
        awaited = {name for name, process in self.processes.items() if process.service.health} - self._up
        while awaited:
            if self._signals.received:
                return False
            for name in sorted(awaited):
                process = self.processes[name]
                if process.exit_code() is not None:
                    raise FailedError(self._obituary(process, "ended before it answered"))
                if answers(process.service):
                    awaited.remove(name)
                    self._up.add(name)
                    say(f"  {name} is up after {process.age:.1f} s")
            now = time.monotonic()
            if awaited and now - begin > START_LIMIT:
                late = self.processes[min(awaited)]
                raise FailedError(self._obituary(late, f"does not answer after {START_LIMIT} s"))
            if awaited and now - reported > REPORT_EVERY:
                reported = now
                say(f"  waiting for {', '.join(sorted(awaited))} …")
            time.sleep(TICK)
        return True

    def revive(self) -> None:
        """Start again what has ended.

        Restarted, not all ended: who looks at a dashboard should not lose the rest to one process.

        Raises:
            FailedError: One ended right after its start.
        """
        for process in list(self.processes.values()):
            if process.exit_code() is None:
                continue
            if process.age < SHORT_LIFE:
                raise FailedError(self._obituary(process, f"ended {process.age:.0f} s after its start"))
            say(f"{process.service.name} ended (exit code {process.exit_code()}) and is started again: {process.log}")
            process.kill_group()
            self.start(process.service)

    def stop(self) -> None:
        """Ask all to end, and end those that do not; another Ctrl-C makes it immediate."""
        asked = len(self._signals.received)
        begin = time.monotonic()
        for process in self.processes.values():
            process.signal(signal.SIGTERM)
        while any(process.exit_code() is None for process in self.processes.values()):
            if time.monotonic() - begin > STOP_LIMIT or len(self._signals.received) > asked:
                break
            time.sleep(TICK)
        for process in self.processes.values():
            process.kill_group()

    def _obituary(self, process: Process, what: str) -> str:
        code = process.exit_code()
        ending = "" if code is None else f" (exit code {code})"
        return f"{process.service.name} {what}{ending}. The end of {process.log}:\n{process.tail()}"

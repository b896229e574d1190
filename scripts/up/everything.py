"""``make up``: the service, MLflow, the monitor and Prometheus, until Ctrl-C."""

import json
import signal
import time
from pathlib import Path

from scripts.up import ports, services
from scripts.up.bundle_watch import BundleWatch
from scripts.up.process import Process
from scripts.up.settings import ROOT, Settings
from scripts.up.signals import Signals
from scripts.up.supervisor import TICK, FailedError, Supervisor, say, unusable

WRONG_SETTINGS = 2  # the monitor's exit code


def run(settings: Settings, signals: Signals) -> int:
    """Start everything, keep it running, and end it when asked to; returns the exit code."""
    try:
        return _run(settings, signals)
    except FailedError as error:
        say(f"{error}\nEverything is stopped.")
    except OSError as error:
        say(unusable(error))
    return 1


def _run(settings: Settings, signals: Signals) -> int:
    parts = [services.mlflow(settings), services.inference(settings)]
    if prometheus := services.prometheus(settings):
        parts.append(prometheus)
    if problems := ports.taken(parts):
        say("\n".join(problems))
        return 1
    logs = settings.state_dir / "logs"
    with Supervisor(logs, signals) as supervisor:
        say(f"Starting {', '.join(part.name for part in parts)}; logs in {_short(logs)}")
        for part in parts:
            supervisor.start(part)
        if supervisor.wait_until_up():
            say(_table(settings, parts))
            _watch(settings, signals, supervisor, Monitor(settings, logs))
        say("\nStopping …")
    say("Everything is stopped.")
    return 0


class Monitor:
    """The check, every so often."""

    def __init__(self, settings: Settings, logs: Path) -> None:
        """Due at once."""
        self._service = services.monitor(settings)
        self._interval = settings.monitor_interval
        self._logs = logs
        self._due = time.monotonic()
        self._process: Process | None = None
        self._code: int | None = None

    def tick(self) -> None:
        """Start a check that is due, and say when a result differs from the last one."""
        process = self._process
        if process and (code := process.exit_code()) is not None:
            self._process = None
            if code != self._code:
                say(f"monitor: {_verdict(code, process)}; {_short(process.log)}")
            self._code = code
        if not self._process and time.monotonic() >= self._due:
            self._due = time.monotonic() + self._interval
            self._process = Process(self._service, self._logs, append=process is not None or self._code is not None)

    def stop(self) -> None:
        """End a check that is under way; its result is on the disk or was never one."""
        if self._process:
            self._process.kill_group()


def _verdict(code: int, process: Process) -> str:
    if code == WRONG_SETTINGS:
        return f"nothing was checked (exit code {code}): {process.tail().splitlines()[-1].strip()}"
    return "the service is healthy" if code == 0 else f"something is wrong (exit code {code})"


def _watch(settings: Settings, signals: Signals, supervisor: Supervisor, monitor: Monitor) -> None:
    bundle = BundleWatch(ROOT / settings.model_dir)
    try:
        while not signals.received:
            supervisor.revive()
            monitor.tick()
            if bundle.changed():
                supervisor.processes["inference"].signal(signal.SIGHUP)
                say(f"{_short(settings.model_dir)} has changed: the service loads it.")
            time.sleep(TICK)
    finally:
        monitor.stop()


def _table(settings: Settings, parts: list[services.Service]) -> str:
    rows = [
        ("service", settings.service_address, _model(settings)),
        ("", f"{settings.service_address}/docs", "its routes"),
        ("MLflow", settings.mlflow_address, "training runs, models, the monitor's results"),
        ("monitor", f"every {settings.monitor_interval:g} s", "asks the service; results go to MLflow"),
    ]
    addresses = {part.name: part.address for part in parts}
    started = addresses.get("prometheus")
    rows.append(("Prometheus", started or "not started", "" if started else "it is not on the PATH"))
    lines = "\n".join(f"  {name:<11} {address:<27} {note}".rstrip() for name, address, note in rows)
    return f"\n{lines}\n\nCtrl-C stops everything.\n"


def _model(settings: Settings) -> str:
    page = ports.get(f"{settings.service_address}/ready")
    try:
        status, body = page or (0, b"{}")
        ready = json.loads(body)
        if status == 200:
            return f"drop a picture here; serves {ready['model']['name']} {ready['model']['version']}"
        return f"NO MODEL IS SERVED: {ready['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"NO MODEL IS SERVED: see {settings.service_address}/ready"


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)

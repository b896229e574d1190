"""MLflow alone: by itself until Ctrl-C, or for the time of one command."""

import os
import subprocess
import time

from scripts.up import ports, services
from scripts.up.settings import Settings
from scripts.up.signals import Signals
from scripts.up.supervisor import TICK, FailedError, Supervisor, say, unusable

TRACKING_URI = "MLFLOW_TRACKING_URI"


def run(settings: Settings, signals: Signals, command: list[str]) -> int:
    """Start MLflow, unless one answers already, and run the command with it.

    Args:
        settings: Where MLflow listens and lives.
        signals: Those that arrive go on to the command.
        command: None of it: the server runs until a signal comes.

    Returns:
        The command's exit code; 128 and the signal's number if one ended it.
    """
    if command and os.environ.get(TRACKING_URI):
        say(f"MLflow is at {os.environ[TRACKING_URI]} ({TRACKING_URI} is set).")
        return _command(command, os.environ[TRACKING_URI], signals)
    try:
        return _with_mlflow(settings, signals, command)
    except FailedError as error:
        say(str(error))
    except OSError as error:
        say(unusable(error))
    return 1


def _with_mlflow(settings: Settings, signals: Signals, command: list[str]) -> int:
    mlflow = services.mlflow(settings)
    if command and _is_mlflow(settings):
        say(f"MLflow is up already: {mlflow.address}")
        return _command(command, mlflow.address, signals)
    if problems := ports.taken([mlflow]):
        say("\n".join(problems))
        return 1
    with Supervisor(settings.state_dir / "logs", signals) as supervisor:
        say(f"Starting MLflow at {mlflow.address}")
        supervisor.start(mlflow)
        if not supervisor.wait_until_up():
            return 128 + signals.received[0]
        if command:
            return _command(command, mlflow.address, signals)
        say("Ctrl-C stops it.")
        while not signals.received:
            supervisor.revive()
            time.sleep(TICK)
        return 0


def _is_mlflow(settings: Settings) -> bool:
    page = ports.get(f"{settings.mlflow_address}/health")
    return page == (200, b"OK")


def _command(command: list[str], address: str, signals: Signals) -> int:
    # Its own process group, so that a Ctrl-C in the terminal reaches it once, through here, and not twice.
    try:
        process = subprocess.Popen(command, env=os.environ | {TRACKING_URI: address}, process_group=0)
    except OSError as error:
        say(f"{command[0]} cannot be run ({error.strerror}).")
        return 127
    passed = 0
    while (code := process.poll()) is None:
        for number in signals.received[passed:]:
            passed += 1
            os.killpg(process.pid, number)
        time.sleep(TICK)
    return code if code >= 0 else 128 - code

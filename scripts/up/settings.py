"""The launcher's settings: environment variables. The parts have their own beside."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PORTS = {"PORT": 8000, "MLFLOW_PORT": 5000, "PROMETHEUS_PORT": 9090}
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104

HELP = """\
settings (environment variables):
  PORT              the service; default: 8000
  HOST              address it listens on: 127.0.0.1 (default), or 0.0.0.0 or :: for the network too; others are not
                    heeded, because some shells set HOST to the machine's name
  MLFLOW_PORT       the MLflow server; default: 5000
  MLFLOW_HOST       address it listens on; default: 127.0.0.1. With 0.0.0.0 the pods of a minikube on Linux reach
                    it, and so does everybody on the same network
  MLFLOW_AUTH_CONFIG_PATH  has it ask for a password; without, it has none: see docs/security.md
  PROMETHEUS_PORT   Prometheus, started if it is installed; default: 9090
  MONITOR_INTERVAL  seconds between two checks of the service; default: 300
  MODEL_DIR         the bundle that is served; a change of it is served at once; default: models/champion
  STATE_DIR         databases, artifacts and logs; default: .state
The service and its monitor read their own settings as well: see the README, and
.venv/bin/python -m services.monitor --help.
"""


class SettingsError(Exception):
    """A setting is wrong; the message is one sentence that names it."""


@dataclass(frozen=True)
class Settings:
    """Where things listen and live."""

    host: str
    port: int
    mlflow_port: int
    mlflow_host: str
    prometheus_port: int
    monitor_interval: float
    model_dir: Path
    state_dir: Path

    @property
    def mlflow_address(self) -> str:
        """Where processes on this machine reach MLflow."""
        return f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def service_address(self) -> str:
        """Where processes on this machine reach the service."""
        return f"http://127.0.0.1:{self.port}"


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; an empty variable counts as not set.

    Raises:
        SettingsError: A value is not understood, or two parts have the same port.
    """

    def port(name: str, default: int) -> int:
        text = environment.get(name) or str(default)
        if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**16):
            raise SettingsError(f"{name} is {text!r}, but must be a whole number from 1 to 65535.")
        return int(text)

    ports = {name: port(name, default) for name, default in PORTS.items()}
    for name in ports:
        for other in ports:
            if name < other and ports[name] == ports[other]:
                raise SettingsError(f"{name} and {other} are both {ports[name]}: give one of them another port.")
    interval = environment.get("MONITOR_INTERVAL") or "300"
    try:
        seconds = float(interval)
    except ValueError:
        seconds = 0
    if not 0 < seconds < float("inf"):
        raise SettingsError(f"MONITOR_INTERVAL is {interval!r}, but must be a number of seconds above 0.")
    host = environment.get("HOST", "")
    return Settings(
        host=host if host in EVERYWHERE else "127.0.0.1",
        port=ports["PORT"],
        mlflow_port=ports["MLFLOW_PORT"],
        mlflow_host=environment.get("MLFLOW_HOST") or "127.0.0.1",
        prometheus_port=ports["PROMETHEUS_PORT"],
        monitor_interval=seconds,
        model_dir=Path(environment.get("MODEL_DIR") or "models/champion"),
        state_dir=ROOT / (environment.get("STATE_DIR") or ".state"),
    )

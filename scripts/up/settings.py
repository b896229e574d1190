"""Settings of ``make up``: environment variables. Relative paths start at the root of the repository."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.inference.settings import is_own_address

LOCALHOST = "127.0.0.1"
ALL_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104


def _own_address(host: str) -> str:
    if not is_own_address(host):
        raise ValueError("this machine has no such address")
    return host


Port = Annotated[int, Field(ge=1, le=65535)]
# Others are ignored: some shells set HOST to the name of the machine.
Host = Annotated[str, AfterValidator(lambda host: host if host in ALL_ADDRESSES else LOCALHOST)]
OwnAddress = Annotated[str, AfterValidator(_own_address)]


class Settings(BaseSettings):
    """Addresses and folders of the programs; an empty variable counts as not set."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore")

    port: Port = Field(default=8000, description="port of the service")
    host: Host = Field(default=LOCALHOST, description="its address; 0.0.0.0 or :: for the network")
    mlflow_port: Port = Field(default=5000, description="port of MLflow")
    mlflow_host: OwnAddress = Field(default=LOCALHOST, description="its address; 0.0.0.0 for the network, minikube too")
    mlflow_auth_config_path: str = Field(default="", description="makes it ask for a password: docs/security.md")
    prometheus_port: Port = Field(default=9090, description="port of Prometheus, which runs if it is installed")
    monitor_interval: float = Field(default=300, gt=0, allow_inf_nan=False, description="seconds between two checks")
    model_dir: Path = Field(default=Path("models/champion"), description="bundle to serve, and its replacements")
    state_dir: Path = Field(default=Path(".state"), description="folder of databases, artifacts and logs")


def describe() -> str:
    """Describe all settings, for the help text."""
    fields = Settings.model_fields.items()
    lines = [
        f"  {name.upper():<24}{field.description}; default: {field.default or 'not set'}" for name, field in fields
    ]
    title = "settings (environment variables):"
    note = "docs/serving.md lists the service's, `.venv/bin/python -m services.monitor --help` the monitor's."
    return "\n".join([title, *lines, note])

"""Read the monitor's settings from environment variables."""

import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PositiveInt, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsError(Exception):
    """A setting is wrong; the message is one sentence that names it, its value and the rule."""


def mask_credentials(address: str) -> str:
    """Replace the user name and password in an address with ``***``."""
    return re.sub(r"[^/]*@", "***@", address)


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an address looks like http://host:port")
    return value.rstrip("/")


def _folder(value: Path) -> Path:
    if not os.path.isdir(value):  # noqa: PTH112  # Path.is_dir raises for a name that is too long
        raise ValueError("there is no such folder, or it is not accessible")
    return value


def _key_file(value: Path) -> Path:
    try:
        key = value.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"it cannot be read, {getattr(error, 'strerror', 'it is not a text file')}") from error
    if not key.isascii() or len(key.split()) != 1:
        raise ValueError("it must hold one key and nothing else")
    return value


def _local_mlflow() -> str:
    return f"http://127.0.0.1:{os.environ.get('MLFLOW_PORT') or 5000}"


Address = Annotated[str, AfterValidator(_address)]
Folder = Annotated[Path, AfterValidator(_folder)]
KeyFile = Annotated[Path, AfterValidator(_key_file)]
# setitimer rounds smaller values to 0, and has no infinity.
Seconds = Annotated[float, Field(ge=0.001, le=3600)]


class Settings(BaseSettings):
    """The monitor's settings; each is read from the environment variable of its name in capitals."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True)

    predict_url: Address = Field(default="http://127.0.0.1:8000", description="base address of the service to check")
    predict_api_key_file: KeyFile | None = Field(
        default=None, description="file with the API key to send, if the service requires one"
    )
    mlflow_tracking_uri: Address = Field(default_factory=_local_mlflow, description="address of the MLflow server")
    mlflow_experiment_name: str = Field(default="post-deploy-monitoring", description="experiment for the results")
    labelled_images: Folder | None = Field(
        default=None,
        description="labelled images: a folder per class, or <label>__anything.jpg. An empty one counts as not set",
    )
    check_pictures: PositiveInt = Field(default=200, description="most labelled images per run, evenly picked")
    min_accuracy: float | None = Field(default=None, ge=0, le=1, description="lowest accuracy that counts as healthy")
    predict_timeout: Seconds = Field(default=10, description="seconds, at most 3600, for one image")
    check_timeout: Seconds = Field(
        default=60, description="seconds, at most 3600, for all images; the rest counts as failed"
    )
    tracking_timeout: Seconds = Field(default=20, description="seconds, at most 3600, for everything sent to MLflow")
    pushgateway_url: Address | None = Field(
        default=None, description="address of a Pushgateway, from which Prometheus reads the results"
    )
    pushgateway_timeout: Seconds = Field(default=5, description="seconds, at most 3600, for the push")
    spool_dir: Path = Field(default=Path(".state/spool"), description="folder for results that are not in MLflow yet")


def load() -> Settings:
    """Read the settings from the environment; an unset or empty variable has its default.

    Raises:
        SettingsError: A value is invalid.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        field, value = str(first["loc"][0]), str(first["input"])
        shown = mask_credentials(value) if field.endswith(("_url", "_uri")) else value
        reason = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{field.upper()}={shown!r}: {reason} ({_describe(field)}).") from error


def describe_all() -> str:
    """Return one line per setting, with its meaning and default."""
    return "\n".join(f"  {name.upper():<23} {_describe(name)}" for name in Settings.model_fields)


def _describe(name: str) -> str:
    field = Settings.model_fields[name]
    value = field.get_default(call_default_factory=True)
    default = "not set" if value is None else value
    return f"{field.description}; default: {default}"

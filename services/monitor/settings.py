"""The job's settings: environment variables, checked at the start."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt
from pydantic import ValidationError as _ValidationError

from services.monitor.names import masked


class SettingsError(Exception):
    """A setting is wrong; the message is one sentence that names it."""


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an address looks like http://host:port")
    return value.rstrip("/")


def _folder(value: Path) -> Path:
    try:
        found = value.is_dir()
    except OSError as error:
        raise ValueError(f"it cannot be read, {error.strerror}") from error
    if not found:
        raise ValueError("there is no such folder")
    return value


def _key(value: Path) -> Path:
    try:
        key = value.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"it cannot be read, {getattr(error, 'strerror', 'it is no text')}") from error
    if not key.isascii() or len(key.split()) != 1:
        raise ValueError("it must hold one key and nothing else")
    return value


Address = Annotated[str, AfterValidator(_address)]
Folder = Annotated[Path, AfterValidator(_folder)]
KeyFile = Annotated[Path, AfterValidator(_key)]
# The timer of the system rounds less to none, and cannot count to infinity.
Seconds = Annotated[float, Field(ge=0.001, le=3600)]


class Settings(BaseModel):
    """One field per environment variable, named as the variable in lower case."""

    model_config = ConfigDict(frozen=True)

    predict_url: Address = Field("http://127.0.0.1:8000", description="base address of the service to check")
    predict_api_key_file: KeyFile | None = Field(None, description="file with the API key to send, if one is asked for")
    mlflow_tracking_uri: Address = Field("http://127.0.0.1:5000", description="address of the MLflow server")
    mlflow_experiment_name: str = Field("post-deploy-monitoring", description="experiment the results go to")
    labelled_images: Folder | None = Field(
        None,
        description="labelled pictures: a folder per class, or <label>__anything.jpg. An empty one is as none",
    )
    check_pictures: PositiveInt = Field(200, description="labelled pictures asked about in one run, evenly picked")
    min_accuracy: float | None = Field(None, ge=0, le=1, description="healthy only at or above this share")
    predict_timeout: Seconds = Field(10, description="seconds, at most 3600, for one picture")
    check_timeout: Seconds = Field(60, description="seconds, at most 3600, for all pictures; the rest counts as failed")
    tracking_timeout: Seconds = Field(20, description="seconds, at most 3600, for all that is sent to MLflow")
    pushgateway_url: Address | None = Field(None, description="address of a Pushgateway, where Prometheus sees results")
    pushgateway_timeout: Seconds = Field(5, description="seconds, at most 3600, for the push")
    spool_dir: Path = Field(Path(".state/spool"), description="folder for results that MLflow does not have yet")


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Read the settings; an empty variable counts as not set.

    Raises:
        SettingsError: A value is not understood.
    """
    names = {name: name.upper() for name in Settings.model_fields}
    values = {field: environment[name] for field, name in names.items() if environment.get(name)}
    try:
        return Settings.model_validate(values)
    except _ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        reason = first["msg"].removeprefix("Value error, ")
        value = masked(values[field]) if field.endswith(("_url", "_uri")) else values[field]
        raise SettingsError(f"{field.upper()}={value!r}: {reason} ({_describe(field)}).") from error


def table() -> str:
    """Every setting with its default and meaning, one per line."""
    return "\n".join(f"  {name.upper():<23} {_describe(name)}" for name in Settings.model_fields)


def _describe(name: str) -> str:
    field = Settings.model_fields[name]
    default = "not set" if field.default is None else field.default
    return f"{field.description}; default: {default}"

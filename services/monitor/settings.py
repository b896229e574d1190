"""The job's settings: environment variables, checked at the start."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, DirectoryPath, Field, PositiveFloat, PositiveInt
from pydantic import ValidationError as _ValidationError


class SettingsError(Exception):
    """A setting is wrong; the message is one sentence that names it."""


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an address looks like http://host:port")
    return value.rstrip("/")


Address = Annotated[str, AfterValidator(_address)]


class Settings(BaseModel):
    """One field per environment variable, named as the variable in lower case."""

    model_config = ConfigDict(frozen=True)

    predict_url: Address = Field("http://127.0.0.1:8000", description="base address of the service to check")
    mlflow_tracking_uri: Address = Field("http://127.0.0.1:5000", description="address of the MLflow server")
    mlflow_experiment_name: str = Field("post-deploy-monitoring", description="experiment the results go to")
    labelled_images: DirectoryPath | None = Field(
        None, description="folder of labelled pictures: a folder per class, or <label>__anything.jpg"
    )
    check_pictures: PositiveInt = Field(200, description="labelled pictures asked about in one run, evenly picked")
    min_accuracy: float | None = Field(None, ge=0, le=1, description="healthy only at or above this share")
    predict_timeout: PositiveFloat = Field(10, description="seconds for one picture")
    check_timeout: PositiveFloat = Field(60, description="seconds for all pictures; the rest counts as failed")
    tracking_timeout: PositiveFloat = Field(20, description="seconds for all that is sent to MLflow")
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
        raise SettingsError(f"{field.upper()}={values[field]!r}: {reason} ({_describe(field)}).") from error


def table() -> str:
    """Every setting with its default and meaning, one per line."""
    return "\n".join(f"  {name.upper():<23} {_describe(name)}" for name in Settings.model_fields)


def _describe(name: str) -> str:
    field = Settings.model_fields[name]
    default = "not set" if field.default is None else field.default
    return f"{field.description}; default: {default}"

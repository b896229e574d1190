"""Read the service's settings from environment variables."""

import contextlib
import functools
import ipaddress
import os
import re
import socket
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import limits
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bundle.load import CHAMPION
from bundle.preprocess import MAX_PIXELS
from services.inference.container.cgroups import cpu_limit

METRICS_FILE = re.compile(r"(counter|histogram|summary|gauge_[a-z]+)_\d+\.db")  # as prometheus_client names them
ORIGIN = re.compile(r"https?://[^/\s?#@]+")
PREFIX = re.compile(r"(/[\w.~-]+)+", re.ASCII)
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingsError(ValueError):
    """A setting is invalid; the message is one sentence that names it, its value and the rule."""


def is_own_address(host: str) -> bool:
    """Tell whether a server on this machine can listen at an address."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listener:
            listener.bind(address)
    except OSError:
        return False
    return True


def _own_address(host: str) -> str:
    if not is_own_address(host):
        raise ValueError("must be an address of this machine, such as 127.0.0.1 or 0.0.0.0")
    return host


def _writable_file(file: Path) -> Path:
    if file.is_dir() or not os.access(file.parent, os.W_OK):
        raise ValueError("must be a file in a writable folder")
    return file


def _writable_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"must be a writable folder ({error.strerror})") from None
    return folder


def _rate(text: str) -> str:
    with contextlib.suppress(ValueError):
        if limits.parse(text).amount > 0:
            return text
    raise ValueError("must be a number of requests per second, minute, hour or day, such as 60/minute")


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part)
    except ValueError as error:
        raise ValueError(f"must be addresses or networks, such as 10.0.0.7,192.168.0.0/16 ({error})") from None


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(part.strip().rstrip("/").lower() for part in text.split(",") if part.strip())
    if not all(part == "*" or ORIGIN.fullmatch(part) for part in origins):
        raise ValueError("must be origins such as https://cats.example.com,http://localhost:3000, or *")
    return origins


def _prefix(text: str) -> str:
    prefix = text.rstrip("/")
    if prefix and not PREFIX.fullmatch(prefix):
        raise ValueError("must be a path such as /cats")
    return prefix


Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=1, le=2**40)]
Seconds = Annotated[int, Field(ge=1, le=3600)]


def _setting(default: Any, about: str) -> Any:
    return Field(default=default, description=about)


class Settings(BaseSettings):
    """The service's settings; each is read from the environment variable of its name in capitals."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, str_strip_whitespace=True, extra="ignore")

    host: Annotated[str, AfterValidator(_own_address)] = _setting("127.0.0.1", "address; 0.0.0.0 in a container")
    port: Port = _setting(8000, "port to listen on")
    workers: Annotated[int, Field(ge=1, le=256)] = Field(
        default_factory=lambda: min(cpu_limit(), 8), description="processes; by default one per CPU, at most 8"
    )
    max_in_flight: Count = _setting(16, "predictions in progress per worker (503 above)")
    max_upload_memory: Count = _setting(128 * 2**20, "bytes of open uploads in memory per worker (503 above)")
    model_dir: Path = _setting(CHAMPION, "the bundle: model.onnx and manifest.json")
    model_public_key: Path | None = _setting(None, "PEM file of the key that must have signed the bundle")
    max_upload_bytes: Count = _setting(20 * 2**20, "largest request body (413 above)")
    max_pixels: Count = _setting(MAX_PIXELS, "most pixels to decode, of an image (422 above) and of a request (413)")
    max_pictures: Count = _setting(32, "most images in one request (413 above)")
    upload_timeout: Seconds = _setting(30, "seconds an upload may take (408 above)")
    graceful_timeout: Seconds = _setting(10, "seconds to finish open requests when stopped")
    drain_file: Annotated[Path, AfterValidator(_writable_file)] | None = _setting(
        None, "while this file exists, /ready answers 503 and connections end with their answer"
    )
    prometheus_multiproc_dir: Annotated[Path, AfterValidator(_writable_folder)] | None = _setting(
        None, "folder for the metrics of all workers; by default a temporary one in memory"
    )
    api_keys_file: Path | None = _setting(None, "lines of name:key, one of which clients must send; may be changed")
    rate_limit: Annotated[str, AfterValidator(_rate)] | None = _setting(
        None, "predictions, and explanations, per key or client address and worker, such as 60/minute (429 above)"
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)] = Field(
        default="",
        validate_default=True,
        description="addresses of proxies whose X-Forwarded-… headers are trusted",
    )
    path_prefix: Annotated[str, AfterValidator(_prefix)] = _setting(
        "", "path that a proxy puts before all routes, such as /cats; requests without it are answered too"
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)] = Field(
        default="", validate_default=True, description="origins whose pages may use the service, or *"
    )
    metrics_port: Port | None = _setting(None, "separate port for /metrics, which PORT then lacks")
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(str.lower)] = _setting(
        "info", "least severe level that is logged"
    )

    @model_validator(mode="after")
    def _different_ports(self) -> "Settings":
        if self.metrics_port == self.port:
            raise ValueError(f"METRICS_PORT is '{self.metrics_port}', but must be another port than PORT")
        return self

    @property
    def draining(self) -> bool:
        """Whether clients must go elsewhere, because this service is about to stop."""
        return self.drain_file is not None and self.drain_file.exists()


def load() -> Settings:
    """Read the settings from the environment, or raise ``SettingsError``."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        reason = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:
            raise SettingsError(f"{reason}.") from None
        name, value = str(first["loc"][0]).upper(), str(first["input"])
        raise SettingsError(f"{name} is {value!r}, but {reason[0].lower()}{reason[1:]}.") from None


@functools.cache
def current() -> Settings:
    """Return the settings of this process, read once.

    Workers inherit those of gunicorn's master: checked again, a folder that became read-only would end the service.
    """
    return load()

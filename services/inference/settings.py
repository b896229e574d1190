"""The settings: environment variables, read and checked once at the start."""

import functools
import ipaddress
import os
import re
import socket
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from bundle.preprocess import MAX_PIXELS
from services.inference import cpus, rate

MAX_DEFAULT_WORKERS = 8
METRICS_FILE = re.compile(r"(counter|histogram|summary|gauge_[a-z]+)_\d+\.db")  # as prometheus_client names them
LOG_LEVELS = ("debug", "info", "warning", "error")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingsError(ValueError):
    """A setting cannot be used; the message is one sentence that names it, its value and what would be right."""


def _whole_number(low: int, high: int) -> Callable[[str, str], int]:
    def parse(name: str, text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise SettingsError(f"{name} is {text!r}, but must be a whole number from {low} to {high}.")
        return number

    return parse


def _one_of(*choices: str) -> Callable[[str, str], str]:
    def parse(name: str, text: str) -> str:
        if text.lower() not in choices:
            raise SettingsError(f"{name} is {text!r}, but must be one of {', '.join(choices)}.")
        return text.lower()

    return parse


def _folder(name: str, text: str) -> Path:
    folder = Path(text)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        # prometheus_client reads every .db file as one of its own, and each scrape would fail.
        strange = sorted(file.name for file in folder.glob("*.db") if not METRICS_FILE.fullmatch(file.name))
    except OSError as error:
        raise SettingsError(
            f"{name} is {text!r}, but must be a folder that can be written to ({error.strerror})."
        ) from None
    if strange:
        raise SettingsError(f"{name} is {text!r}, but must be a folder of its own: this one holds {strange[0]}.")
    return folder


def _path(name: str, text: str) -> Path:
    return Path(text)


def _mark(name: str, text: str) -> Path:
    file = Path(text)
    if file.is_dir() or not os.access(file.parent, os.W_OK):
        raise SettingsError(f"{name} is {text!r}, but must be a file in a folder that can be written to.")
    return file


def _rate(name: str, text: str) -> rate.Rate:
    try:
        return rate.parse(text)
    except ValueError:
        units = ", ".join(rate.SECONDS)
        raise SettingsError(
            f"{name} is {text!r}, but must be a number of requests per {units}, such as 60/minute."
        ) from None


def _networks(name: str, text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise SettingsError(
            f"{name} is {text!r}, but must be addresses or networks, such as 10.0.0.7,192.168.0.0/16 ({error})."
        ) from None


def _host(name: str, text: str) -> str:
    try:
        family, kind, _, _, address = socket.getaddrinfo(text, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listener:
            listener.bind(address)
    except OSError:
        raise SettingsError(
            f"{name} is {text!r}, but must be an address of this machine, such as 127.0.0.1 or 0.0.0.0."
        ) from None
    return text


def _setting(parse: Callable[[str, str], Any], about: str) -> dict[str, Any]:
    return {"parse": parse, "about": about}


@dataclass(frozen=True)
class Settings:
    """Every setting; the environment variable has the field's name in capitals."""

    host: str = field(default="127.0.0.1", metadata=_setting(_host, "address to listen on; 0.0.0.0 in a container"))
    port: int = field(default=8000, metadata=_setting(_whole_number(1, 65535), "port to listen on"))
    workers: int = field(
        default_factory=lambda: min(cpus.limit(), MAX_DEFAULT_WORKERS),
        metadata=_setting(
            _whole_number(1, 256), f"processes; by default one per processor, {MAX_DEFAULT_WORKERS} at most"
        ),
    )
    threads: int = field(default=20, metadata=_setting(_whole_number(2, 256), "connections a worker serves at once"))
    max_in_flight: int = field(
        default=16, metadata=_setting(_whole_number(1, 255), "predictions a worker takes on at once (503 above)")
    )
    model_dir: Path = field(
        default=Path("models/champion"), metadata=_setting(_path, "the bundle: model.onnx and manifest.json")
    )
    max_upload_bytes: int = field(
        default=20 * 2**20, metadata=_setting(_whole_number(1, 2**31), "largest request body (413 above)")
    )
    max_pixels: int = field(
        default=MAX_PIXELS, metadata=_setting(_whole_number(1, 10**9), "largest picture, width × height (422 above)")
    )
    max_pictures: int = field(
        default=32, metadata=_setting(_whole_number(1, 1000), "most pictures in one request (413 above)")
    )
    upload_timeout: int = field(
        default=30, metadata=_setting(_whole_number(1, 3600), "seconds an upload may take (408 above)")
    )
    graceful_timeout: int = field(
        default=10, metadata=_setting(_whole_number(1, 3600), "seconds to finish open requests when stopped")
    )
    drain_file: Path | None = field(
        default_factory=lambda: None,
        metadata=_setting(
            _mark,
            "while this file exists, /ready answers 503 and each answer ends its connection; removed at the start",
        ),
    )
    prometheus_multiproc_dir: Path | None = field(
        default_factory=lambda: None,
        metadata=_setting(_folder, "folder for the counts of all workers; by default a new one, removed at the end"),
    )
    api_keys_file: Path | None = field(
        default_factory=lambda: None,
        metadata=_setting(_path, "a file of name:key lines, one of which /predict then asks for; read when it changes"),
    )
    rate_limit: rate.Rate | None = field(
        default_factory=lambda: None,
        metadata=_setting(_rate, "predictions of one key's owner, or of one address, such as 60/minute (429 above)"),
    )
    trusted_proxies: tuple[Network, ...] = field(
        default_factory=tuple,
        metadata=_setting(_networks, "addresses of proxies whose X-Forwarded-For names the client, for RATE_LIMIT"),
    )
    metrics_port: int | None = field(
        default_factory=lambda: None,
        metadata=_setting(_whole_number(1, 65535), "a port of its own for /metrics, which PORT then does not answer"),
    )
    log_level: str = field(
        default="info", metadata=_setting(_one_of(*LOG_LEVELS), "least severe log line that is written")
    )

    @property
    def draining(self) -> bool:
        """Whether clients shall go elsewhere, since this service is about to stop."""
        return self.drain_file is not None and self.drain_file.exists()


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from environment variables; an unset or empty one has its default.

    Raises:
        SettingsError: A value cannot be used.
    """
    given = {
        setting.name: setting.metadata["parse"](setting.name.upper(), text)
        for setting in fields(Settings)
        if (text := environ.get(setting.name.upper(), "").strip())
    }
    settings = Settings(**given)
    if settings.max_in_flight >= settings.threads:
        raise SettingsError(
            f"MAX_IN_FLIGHT is {settings.max_in_flight}, but must be below THREADS ({settings.threads}), "
            "or no thread is left to answer /health and to refuse what is too much."
        )
    if settings.metrics_port == settings.port:
        raise SettingsError(f"METRICS_PORT is '{settings.metrics_port}', but must be another port than PORT.")
    return settings


@functools.cache
def current() -> Settings:
    """Give the settings of this process; gunicorn's workers inherit those that its master has checked.

    Checked again, a folder that cannot be written to any more would end a service that runs.

    Raises:
        SettingsError: A value cannot be used.
    """
    return load()

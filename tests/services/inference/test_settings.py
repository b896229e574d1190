from pathlib import Path

import pytest

from services.inference import settings
from services.inference.container import cgroups
from services.inference.settings import SettingsError, load
from tests import servers


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in servers.SETTINGS:
        monkeypatch.delenv(name, raising=False)


def test_defaults():
    found = load()
    assert (found.host, found.port, found.model_dir) == ("127.0.0.1", 8000, Path("models/champion"))
    assert found.workers == min(cgroups.cpu_limit(), 8) >= 1
    assert found.trusted_proxies == ()


def test_empty_variable_is_unset(monkeypatch):
    for name in settings.Settings.model_fields:
        monkeypatch.setenv(name.upper(), "")
    assert load() == settings.Settings()


def test_every_setting_is_read_from_its_variable(monkeypatch, tmp_path):
    given = {
        **{"HOST": "0.0.0.0", "PORT": "81", "WORKERS": "3", "MAX_IN_FLIGHT": "4", "MODEL_DIR": "/m"},
        **{"MODEL_PUBLIC_KEY": "/key.pem"},
        **{"MAX_UPLOAD_BYTES": "1000", "MAX_PIXELS": "2000", "MAX_PICTURES": "6", "UPLOAD_TIMEOUT": "7"},
        **{"MAX_UPLOAD_MEMORY": "2000000", "GRACEFUL_TIMEOUT": "8", "LOG_LEVEL": "DEBUG", "METRICS_PORT": "82"},
        **{"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "new"), "DRAIN_FILE": str(tmp_path / "drain")},
        **{"API_KEYS_FILE": "/keys", "RATE_LIMIT": "60/minute", "TRUSTED_PROXIES": "10.0.0.7, fd00::/8"},
        **{"PATH_PREFIX": "/cats", "CORS_ORIGINS": "https://A.example/, *"},
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = dict(load())
    assert tuple(map(str, found.pop("trusted_proxies"))) == ("10.0.0.7/32", "fd00::/8")
    assert found.pop("cors_origins") == ("https://a.example", "*")
    del given["TRUSTED_PROXIES"], given["CORS_ORIGINS"]
    assert {name.upper(): str(value) for name, value in found.items()} == given | {"LOG_LEVEL": "debug"}


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("PORT", "http", "integer"),
        ("PORT", "65536", "65535"),
        ("WORKERS", "0", "1"),
        ("MAX_IN_FLIGHT", "1.5", "integer"),
        ("MAX_UPLOAD_BYTES", "20MB", "integer"),
        ("MAX_UPLOAD_MEMORY", "0", "1"),
        ("MAX_PIXELS", "-1", "1"),
        ("LOG_LEVEL", "loud", "'info'"),
        ("HOST", "not a host", "127.0.0.1"),
        ("HOST", "192.0.2.1", "127.0.0.1"),  # an address for documentation, which no machine has
        ("PROMETHEUS_MULTIPROC_DIR", "/dev/null/metrics", "writable"),
        ("DRAIN_FILE", "/nowhere/drain", "writable"),
        ("DRAIN_FILE", "/", "a file"),
        ("RATE_LIMIT", "60", "60/minute"),
        ("RATE_LIMIT", "0/minute", "60/minute"),
        ("TRUSTED_PROXIES", "proxy.example", "10.0.0.7"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "host bits"),
        ("PATH_PREFIX", "cats", "/cats"),
        ("PATH_PREFIX", "//cats", "/cats"),
        ("CORS_ORIGINS", "cats.example.com", "origins"),
        ("CORS_ORIGINS", "https://cats.example.com/page", "origins"),
        ("METRICS_PORT", "8000", "another port than PORT"),
    ],
)
def test_invalid_setting_is_named_with_its_value_and_rule(monkeypatch, name, value, rule):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name} is '{value}', but [^\n]*{rule}[^\n]*\\.$"):
        load()

"""Settings of these tests come from the tests alone."""

import pytest

from services.monitor.settings import Settings
from tests import servers


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    # A busy machine must not look like a server that is down.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")


@pytest.fixture
def nowhere():
    """The address of a closed port."""
    return f"http://127.0.0.1:{servers.free_port()}"

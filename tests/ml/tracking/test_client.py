"""Connecting to MLflow succeeds, or says in one sentence why not."""

import socket

import pytest

from ml.tracking.client import TrackingError, connect
from tests import servers
from tests.services.monitor.stubs import always, relay, serving

UNUSABLE = r"cannot be used \(.+\): check MLFLOW_TRACKING_URI\.$"


@pytest.mark.timeout(60)
def test_server_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(TrackingError, match=r"^MLflow at http://.* does not answer: start it with `make up`.*\.$"):
            connect(address)


def test_missing_server_is_reported(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{servers.free_port()}")
    with pytest.raises(TrackingError, match="does not answer: start it with `make up` or `make mlflow`, or set MLFLOW"):
        connect(None)


def test_refused_host_name_is_explained(mlflow_address):
    reason = r"answers 403 \(.*Invalid Host.*--allowed-hosts that includes 127\.0\.0\.1:\d+"
    with (
        serving(relay(mlflow_address, host="mlflow.example:5000")) as address,
        pytest.raises(TrackingError, match=reason),
    ):
        connect(address)


@pytest.mark.parametrize("status", [200, 404, 500])
def test_other_server_is_reported_in_one_line(status):
    with (
        serving(always(status, b"<html>hello\nworld</html>", "text/html")) as address,
        pytest.raises(TrackingError, match=UNUSABLE) as caught,
    ):
        connect(address)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["ftp://127.0.0.1", "./mlruns"])
def test_unsupported_address_is_refused(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrackingError, match=UNUSABLE):
        connect(address)


def test_argument_overrides_the_environment(mlflow_address, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_address)
    assert connect(None).tracking_uri == mlflow_address
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert connect(mlflow_address).tracking_uri == mlflow_address

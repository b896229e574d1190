"""Connecting to MLflow succeeds, or says in one sentence why not."""

import contextlib
import socket
from types import SimpleNamespace

import pytest
import requests

from ml.tracking import client
from ml.tracking.client import TrackingError, connect, reason, run_address
from tests import servers
from tests.services.monitor.stubs import always, relay, serving, start

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


def test_server_that_is_starting_is_waited_for(mlflow_address, monkeypatch):
    monkeypatch.setenv("MLFLOW_START_LIMIT", "60")
    port = servers.free_port()
    failures = []

    def answered(error: BaseException) -> bool:
        failures.append(error)
        if len(failures) == 2:
            stack.enter_context(serving(relay(mlflow_address), port))
        return False

    monkeypatch.setattr(client, "answered", answered)
    with contextlib.ExitStack() as stack:
        connect(f"http://127.0.0.1:{port}")
    assert len(failures) == 2


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


def test_server_that_never_answers_names_the_timeout(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(TrackingError, match="for a slow server, set MLFLOW_HTTP_REQUEST_TIMEOUT above 1"):
            connect(address)


@pytest.mark.parametrize(
    ("status", "name", "advice"),
    [
        (403, "AirTunes/760.20.1", "AirPlay of macOS has this port; `export MLFLOW_PORT=5001`"),
        (403, "nginx", "MLFLOW_PORT moves a local MLflow"),
        (404, "Werkzeug/3.1.9 Python/3.11.2", "MLFLOW_PORT moves a local MLflow"),
        (501, "SimpleHTTP/0.6 Python/3.11.2", "MLFLOW_PORT moves a local MLflow"),
    ],
)
def test_another_program_on_the_port_is_named(status, name, advice):
    def respond(handler, _body):
        handler.server_version, handler.sys_version = name, ""
        start(handler, status, {"Content-Length": "0"})

    with serving(respond) as address, pytest.raises(TrackingError) as caught:
        connect(address)
    message = str(caught.value)
    assert f"{name}, not MLflow, answers there with HTTP {status}" in message
    assert advice in message and "--allowed-hosts" not in message


def test_login_is_not_taken_for_another_program():
    refusal = {"error_code": "UNAUTHENTICATED", "message": "You are not authenticated."}
    with serving(always(401, refusal)) as address, pytest.raises(TrackingError, match="not authenticated"):
        connect(address)


@pytest.fixture
def proxy(monkeypatch):
    """Set a proxy that does not answer, as one of a company would not for this machine."""
    proxy = f"http://user:hush@127.0.0.1:{servers.free_port()}"  # pragma: allowlist secret
    for name in ("NO_PROXY", "no_proxy", "http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HTTP_PROXY", proxy)
    return proxy


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_proxy_is_bypassed_for_this_machine(mlflow_address, proxy, host):
    connect(mlflow_address.replace("127.0.0.1", host))


def test_exceptions_of_the_user_stay(mlflow_address, proxy, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "example.org")
    for _ in range(2):
        connect(mlflow_address)
    assert requests.utils.should_bypass_proxies("http://example.org", None)
    assert not requests.utils.should_bypass_proxies("http://example.com", None)


def test_proxy_to_another_machine_is_named(proxy):
    with pytest.raises(TrackingError) as caught:
        connect("http://mlflow.example:5000")
    message = str(caught.value)
    assert "through the proxy http://***@127.0.0.1" in message and "add mlflow.example:5000 to NO_PROXY" in message
    assert "hush" not in message


def test_refusal_of_a_proxy_is_not_taken_for_mlflow(proxy, monkeypatch):
    with serving(always(403, b"<h1>Blocked</h1>", "text/html")) as blocking:
        monkeypatch.setenv("HTTP_PROXY", blocking)
        with pytest.raises(TrackingError, match=f"not MLflow, answers with HTTP 403 through the proxy {blocking}"):
            connect("http://mlflow.example:5000")


def test_address_of_a_run_opens_its_page_without_the_password(mlflow_address):
    client = connect(mlflow_address)
    run = client.create_run(client.create_experiment("addresses"))
    address = run_address(connect(mlflow_address.replace("//", "//user:secret@")), run.info.run_id)
    page = f"/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}?workflowType=machine_learning"
    assert address == f"{mlflow_address}{page}"
    assert run_address(client, "unknown") is None


def test_password_of_the_address_is_not_printed():
    def message(host: str) -> str:
        with pytest.raises(TrackingError) as caught:
            connect(f"http://me:se@cret@{host}")  # pragma: allowlist secret
        assert f"MLflow at http://{host} " in str(caught.value)
        return f"{caught.value} {reason(caught.value.__cause__)}"

    assert "cret" not in message(f"127.0.0.1:{servers.free_port()}")
    with serving(always(500, {})) as address:
        assert "cret" not in message(address.removeprefix("http://"))


def test_database_file_has_no_pages():
    assert run_address(SimpleNamespace(tracking_uri="sqlite:///mlflow.db"), "1") is None

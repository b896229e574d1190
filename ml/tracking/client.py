"""Connect to MLflow, and explain its failures."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException

from ml.errors import UserError
from ml.tracking.address import (
    DEFAULT_ADDRESS,
    MLFLOW_START_LIMIT,
    bypass_proxy_for_loopback,
    proxy_of,
    without_password,
)

TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
# mlflow would wait for minutes; training must not stall when the server is down.
SETTINGS = {
    TIMEOUT: "4",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
# Seconds for the first request: a server that has just started, or sleeps, is slow once.
FIRST_TIMEOUT = "15"
# Seconds between two requests to a server that is starting.
POLL = 0.1
# Seconds, mlflow's own default: the object store behind the server may be slow.
FILE_TIMEOUT = "120"

# An ImportError names the package of an artifact store, such as boto3.
Failure = (MlflowException, requests.RequestException, OSError, ImportError)


class TrackingError(UserError):
    """Raised when MLflow cannot be used."""


def connect(address: str | None) -> MlflowClient:
    """Create a client of an MLflow store that answers; wait for one that is just starting.

    Args:
        address: An ``http:`` address or ``sqlite:///`` file. None means ``MLFLOW_TRACKING_URI``, else the local server
            that ``make up`` starts.

    Raises:
        TrackingError: The store does not answer within about 15 s, or ``MLFLOW_START_LIMIT``, or it refuses.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    bypass_proxy_for_loopback()
    address = address or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_ADDRESS
    deadline = time.monotonic() + float(os.environ.get(MLFLOW_START_LIMIT) or 0)
    with _timeout(FIRST_TIMEOUT):
        while True:
            try:
                mlflow.set_tracking_uri(address)
                client = MlflowClient(address)
                client.search_experiments(max_results=1)
            except Failure as error:
                if answered(error) or time.monotonic() > deadline:
                    raise TrackingError(f"MLflow at {without_password(address)} {_advice(address, error)}.") from error
                time.sleep(POLL)
            else:
                return client


def run_address(client: MlflowClient, run_id: str) -> str | None:
    """Return the address of a run's page; None for a database file, or where MLflow does not answer."""
    if not client.tracking_uri.startswith("http"):
        return None
    try:
        experiment = client.get_run(run_id).info.experiment_id
    except Failure:
        return None
    # MLflow 3 would open the page for language models.
    page = f"/experiments/{experiment}/runs/{run_id}?workflowType=machine_learning"
    server = urlsplit(without_password(client.tracking_uri))
    return server._replace(path=f"{server.path.rstrip('/')}/", fragment=page).geturl()


def file_timeout() -> contextlib.AbstractContextManager[None]:
    """Wait longer for an answer while files are sent or fetched, unless the user has set a timeout."""
    return _timeout(FILE_TIMEOUT)


@contextlib.contextmanager
def _timeout(seconds: str) -> Iterator[None]:
    default = os.environ.get(TIMEOUT) == SETTINGS[TIMEOUT]
    if default:
        os.environ[TIMEOUT] = seconds
    try:
        yield
    finally:
        if default:
            os.environ[TIMEOUT] = SETTINGS[TIMEOUT]


def answered(error: BaseException) -> bool:
    """Tell whether MLflow answered, if only to refuse."""
    return not any(isinstance(one, requests.ConnectionError | requests.Timeout) for one in _chain(error))


def timed_out(error: BaseException) -> bool:
    """Tell whether MLflow took too long to answer or to read a file."""
    return any(isinstance(one, requests.Timeout | TimeoutError) for one in _chain(error))


def failed_in_server(error: BaseException) -> bool:
    """Tell whether MLflow answered that it is busy or broken (HTTP 429 and 5xx), so that trying again may help."""
    return any(isinstance(one, requests.exceptions.RetryError) for one in _chain(error))


def reason(error: BaseException) -> str:
    """Describe in one line why MLflow failed."""
    if any(isinstance(one, requests.exceptions.ProxyError) for one in _chain(error)):
        return "the proxy does not reach MLflow: see HTTP_PROXY, and NO_PROXY for exceptions"
    if timed_out(error):
        return f"MLflow does not answer within {os.environ.get(TIMEOUT)} s: set {TIMEOUT} to more seconds"
    if not answered(error):
        return "MLflow does not answer"
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return without_password(text)[:300]


def artifact_folder(client: MlflowClient) -> str | None:
    """Choose the artifact folder of a database file: beside it, since mlflow takes the current folder."""
    uri = urlsplit(client.tracking_uri)
    if uri.scheme != "sqlite" or not uri.path.strip("/"):
        return None
    # sqlite:///file is relative, sqlite:////file is absolute.
    return Path(uri.path[1:]).resolve().with_name("mlartifacts").as_uri()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes; mlflow and requests wrap those of a connection several times."""
    while error:
        yield error
        error = error.__cause__ or error.__context__


def _advice(address: str, error: BaseException) -> str:
    host = urlsplit(address).netloc.rpartition("@")[2]
    if not answered(error):
        if proxy := proxy_of(address):
            return f"cannot be reached through the proxy {proxy}: add {host} to NO_PROXY, or see HTTP_PROXY"
        advice = "does not answer: start it with `make up` or `make mlflow`, or set MLFLOW_TRACKING_URI"
        return f"{advice}; for a slow server, set {TIMEOUT} above {os.environ[TIMEOUT]}" if timed_out(error) else advice
    if other := _other_server(address, error):
        return f"cannot be used ({other}): check MLFLOW_TRACKING_URI"
    if getattr(error, "error_code", None) == "PERMISSION_DENIED":
        return f"answers 403 ({reason(error)}): start it with --allowed-hosts that includes {host}, or log in"
    return f"cannot be used ({reason(error)}): check MLFLOW_TRACKING_URI"


def _other_server(address: str, error: BaseException) -> str | None:
    """Describe the server at an address if it is not MLflow."""
    # MLflow's own errors are JSON, but for a refused Host header; /health is open to all hosts and users.
    if isinstance(error, RestException) or not address.startswith("http"):
        return None
    try:
        found = requests.get(f"{address.rstrip('/')}/health", timeout=float(os.environ[TIMEOUT]))
    except (requests.RequestException, ValueError):
        return None
    if found.text.strip() == "OK":
        return None
    name = found.headers.get("Server", "another program").strip()
    if proxy := proxy_of(address):
        return f"{name}, not MLflow, answers with HTTP {found.status_code} through the proxy {proxy}; see NO_PROXY"
    text = f"{name}, not MLflow, answers there with HTTP {found.status_code}"
    if name.startswith("AirTunes"):
        return f"{text}: AirPlay of macOS has this port; `export MLFLOW_PORT=5001` moves MLflow to another one"
    return f"{text}; MLFLOW_PORT moves a local MLflow to another port"

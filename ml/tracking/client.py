"""Connect to MLflow."""

import os
from urllib.parse import urlsplit

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ml.errors import UserError

DEFAULT_ADDRESS = f"http://127.0.0.1:{os.environ.get('MLFLOW_PORT') or 5000}"
# mlflow would wait for minutes; training must not stall when the server is down.
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "4",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}

Failure = (MlflowException, requests.RequestException, OSError)


class TrackingError(UserError):
    """Raised when MLflow cannot be used."""


def connect(address: str | None) -> MlflowClient:
    """Create a client of an MLflow store that answers.

    Args:
        address: An ``http:`` address or ``sqlite:///`` file. None means ``MLFLOW_TRACKING_URI``, else the local server
            that ``make up`` starts.

    Raises:
        TrackingError: The store does not answer within about 5 s, or refuses.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    address = address or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_ADDRESS
    try:
        mlflow.set_tracking_uri(address)
        client = MlflowClient(address)
        client.search_experiments(max_results=1)
    except Failure as error:
        if not answered(error):
            advice = "does not answer: start it with `make up` or `make mlflow`, or set MLFLOW_TRACKING_URI"
        elif getattr(error, "error_code", None) == "PERMISSION_DENIED":
            host = urlsplit(address).netloc
            advice = f"answers 403 ({reason(error)}): start it with --allowed-hosts that includes {host}, or log in"
        else:
            advice = f"cannot be used ({reason(error)}): check MLFLOW_TRACKING_URI"
        raise TrackingError(f"MLflow at {address} {advice}.") from error
    return client


def answered(error: BaseException) -> bool:
    """Tell whether MLflow answered, if only to refuse."""
    cause = error if isinstance(error, requests.RequestException) else error.__cause__ or error.__context__
    return not isinstance(cause, requests.ConnectionError | requests.Timeout)


def reason(error: BaseException) -> str:
    """Describe in one line why MLflow failed."""
    if not answered(error):
        return "MLflow does not answer"
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]

"""Send results to MLflow, each once."""

import os
from datetime import UTC, datetime
from urllib.parse import urlsplit

import requests

# No retries: MLflow's client would also repeat "create run", and a slow server would end up with two runs. The next
# check sends again.
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# stdout has the line with the result and nothing else.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException, RestException

from services.monitor.proxies import through
from services.monitor.result import Result
from services.monitor.settings import mask_credentials

RESULT_ID = "result_id"
# MLflow 3 opens other experiments with its page for language models.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
MAX_TAG_LENGTH = 5000


class UnreachableError(Exception):
    """MLflow takes no results at present; the message is the advice."""


class RejectedError(Exception):
    """MLflow will never take this one result."""


class Experiment:
    """An MLflow experiment, created with its first result."""

    def __init__(self, uri: str, name: str) -> None:
        """Create the client; this sends no request."""
        self._address, self._uri = uri, mask_credentials(uri)
        self._name = name
        self._id: str | None = None
        self._client = MlflowClient(uri)

    def send(self, result: Result) -> None:
        """Create the run of a result, or complete it if an earlier attempt was interrupted.

        Raises:
            UnreachableError: MLflow is down, slow, or denies access.
            RejectedError: The result itself is invalid for MLflow.
        """
        try:
            self._send(result)
        except MlflowException as error:
            raise UnreachableError(self._explain(error)) from error

    def _send(self, result: Result) -> None:
        experiment = self._find_or_create()
        runs = self._client.search_runs([experiment], f"tags.{RESULT_ID} = '{result.result_id}'", max_results=1)
        if runs and runs[0].info.status == "FINISHED":
            return
        run = runs[0] if runs else self._create_run(experiment, result)
        metrics = [Metric(key, value, result.ended, 0) for key, value in result.metrics.items()]
        model = {"model_name": result.model_name, "model_version": result.model_version}
        params = [Param(key, value) for key, value in model.items() if value]
        try:
            self._client.log_batch(run.info.run_id, metrics, params)
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            self._client.set_terminated(run.info.run_id, "FAILED", result.ended)
            raise RejectedError(_first_line(error)) from error
        self._client.set_terminated(run.info.run_id, "FINISHED", result.ended)

    def _create_run(self, experiment: str, result: Result) -> Run:
        tags = {
            RESULT_ID: result.result_id,
            "healthy": str(result.healthy).lower(),
            "predict_url": result.predict_url,
        }
        if result.problems:
            tags["mlflow.note.content"] = "\n\n".join(result.problems)[:MAX_TAG_LENGTH]
        started = datetime.fromtimestamp(result.started / 1000, UTC)
        name = f"{started:%Y-%m-%d %H:%M} {result.model_version or 'no answer'}"
        return self._client.create_run(experiment, start_time=result.started, run_name=name, tags=tags)

    def _find_or_create(self) -> str:
        if self._id is None:
            found = self._client.get_experiment_by_name(self._name)
            # A server that answers {} to everything would look like success.
            if found and not found.experiment_id:
                raise UnreachableError(f"The server at {self._uri} is not MLflow: see MLFLOW_TRACKING_URI.")
            if found and found.lifecycle_stage != "active":
                raise UnreachableError(
                    f"The experiment {self._name!r} was deleted in MLflow: restore it there, "
                    "or set MLFLOW_EXPERIMENT_NAME to another name."
                )
            create = self._client.create_experiment
            self._id = found.experiment_id if found else create(self._name, tags=EXPERIMENT_TAGS)
        return self._id

    def _explain(self, error: MlflowException) -> str:
        cause = error.__cause__ or error.__context__
        # The client raises this for a status that it would retry, if retries were on.
        if isinstance(cause, requests.exceptions.RetryError):
            return f"MLflow at {self._uri} fails (HTTP 429 or 5xx): see the server's log."
        if isinstance(cause, requests.RequestException):
            way = through(self._address)
            return f"MLflow at {self._uri} cannot be reached{way}, or is too slow: see that it runs there."
        if other := self._other_server(error):
            return other
        text = _first_line(error)
        if error.error_code == "PERMISSION_DENIED":
            host = urlsplit(self._uri).netloc.rpartition("@")[2]
            return (
                f"MLflow at {self._uri} answers 403 ({text}). If that names an invalid Host header, start the server "
                f"with --allowed-hosts and {host} in its list; if not, check the credentials."
            )
        return f"MLflow at {self._uri} did not take the result: {text}"

    def _other_server(self, error: MlflowException) -> str | None:
        """Describe the server at the address if it is not MLflow."""
        # MLflow's own errors are JSON, but for a refused Host header; /health is open to all hosts and users.
        if isinstance(error, RestException):
            return None
        try:
            found = requests.get(f"{self._address}/health", timeout=5)
        except requests.RequestException:
            return None
        if found.text.strip() == "OK":
            return None
        name = found.headers.get("Server", "another program").strip()
        airplay = " (AirPlay of macOS has port 5000)" if name.startswith("AirTunes") else ""
        way = f"{through(self._address)} with HTTP {found.status_code}{airplay}"
        return (
            f"{name}, not MLflow, answers at {self._uri}{way}: MLFLOW_PORT moves the server of `make mlflow` "
            "to another port; set MLFLOW_TRACKING_URI to its address."
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]

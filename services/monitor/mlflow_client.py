"""Sends results to MLflow, each once."""

import os
from urllib.parse import urlsplit

import requests

# Every request ends by itself, and none is repeated: MLflow's client would repeat "create a run" too, and a
# server that was slow, not down, then has two. The next check of the job is the repetition.
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# A run's one line on stdout is its own.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException

from services.monitor.names import masked
from services.monitor.result import Result

RESULT_ID = "result_id"
LONGEST_TAG = 5000


class UnreachableError(Exception):
    """MLflow does not take results at present; the message says what to do."""


class RejectedError(Exception):
    """MLflow understood and refuses this one result, and always will."""


class Tracking:
    """An MLflow experiment."""

    def __init__(self, uri: str, experiment: str) -> None:
        """Remember where to send to; nothing is asked yet."""
        self._uri = masked(uri)
        self._name = experiment
        self._experiment_id: str | None = None
        self._client = MlflowClient(uri)

    def send(self, result: Result) -> None:
        """Send a result, or complete it where an earlier attempt was cut off.

        Raises:
            UnreachableError: MLflow is down, slow, or refuses everybody: try again later.
            RejectedError: MLflow will never take this result.
        """
        try:
            self._send(result)
        except MlflowException as error:
            raise UnreachableError(self._explain(error)) from error

    def _send(self, result: Result) -> None:
        experiment = self._experiment()
        runs = self._client.search_runs([experiment], f"tags.{RESULT_ID} = '{result.result_id}'", max_results=1)
        if runs and runs[0].info.status == "FINISHED":
            return
        run = runs[0] if runs else self._create(experiment, result)
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

    def _create(self, experiment: str, result: Result) -> Run:
        tags = {
            RESULT_ID: result.result_id,
            "healthy": str(result.healthy).lower(),
            "predict_url": result.predict_url,
        }
        if result.problems:
            tags["mlflow.note.content"] = "\n\n".join(result.problems)[:LONGEST_TAG]
        return self._client.create_run(experiment, start_time=result.started, tags=tags)

    def _experiment(self) -> str:
        if self._experiment_id is None:
            found = self._client.get_experiment_by_name(self._name)
            # An empty answer to everything would look like success.
            if found and not found.experiment_id:
                raise UnreachableError(f"What answers at {self._uri} is not an MLflow server: see MLFLOW_TRACKING_URI.")
            if found and found.lifecycle_stage != "active":
                raise UnreachableError(
                    f"The experiment {self._name!r} was deleted in MLflow: restore it there, "
                    "or set MLFLOW_EXPERIMENT_NAME to another name."
                )
            self._experiment_id = found.experiment_id if found else self._client.create_experiment(self._name)
        return self._experiment_id

    def _explain(self, error: MlflowException) -> str:
        cause = error.__cause__ or error.__context__
        # What the client makes of a status that it would repeat, if it were allowed to.
        if isinstance(cause, requests.exceptions.RetryError):
            return f"MLflow at {self._uri} fails (HTTP 429 or 5xx): see the server's log."
        if isinstance(cause, requests.RequestException):
            return f"MLflow at {self._uri} cannot be reached, or is too slow: see that it runs there."
        text = _first_line(error)
        if error.error_code == "PERMISSION_DENIED":
            host = urlsplit(self._uri).netloc.rpartition("@")[2]
            return (
                f"MLflow at {self._uri} answers 403 ({text}). If that names an invalid Host header, start the server "
                f"with --allowed-hosts and {host} in its list; if not, check the credentials."
            )
        return f"MLflow at {self._uri} did not take the result: {text}"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]

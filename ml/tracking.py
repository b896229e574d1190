"""A training run in MLflow: what cannot be sent now is kept, in order, and sent later."""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from requests import RequestException

STATE_FILE = "tracking.json"
DEFAULT_ADDRESS = "http://127.0.0.1:5000"

# MLflow's own patience is minutes; training must neither start late nor stand still when the server is gone.
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "4", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
# Its chatter would tear the progress bars apart.
QUIET = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"}

Failure = (MlflowException, RequestException, OSError)


class TrackingError(Exception):
    """MLflow cannot be used; the message is one sentence that says why and what to do."""


def connect(address: str | None) -> MlflowClient:
    """Give a client of an MLflow store that answers.

    Args:
        address: An ``http:`` address or ``sqlite:///`` file; None takes ``MLFLOW_TRACKING_URI``, else the local
            server that ``make up`` starts.

    Raises:
        TrackingError: It does not answer within about 5 s, or refuses.
    """
    for name, value in (PATIENCE | QUIET).items():
        os.environ.setdefault(name, value)
    address = address or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_ADDRESS
    mlflow.set_tracking_uri(address)
    client = MlflowClient(address)
    try:
        client.search_experiments(max_results=1)
    except Failure as error:
        text = str(error)
        if "403" in text or "Invalid Host" in text:
            reason = "refuses this host name (403): start the server with --allowed-hosts that names it"
        else:
            reason = "does not answer: start it with `make up` or `make mlflow`, or set MLFLOW_TRACKING_URI"
        raise TrackingError(f"MLflow at {address} {reason}.") from error
    return client


class Tracker:
    """Sends one run's parameters, metrics, files and model, in order, each once."""

    def __init__(self, client: MlflowClient, folder: Path, run_id: str, waiting: list[dict[str, Any]]) -> None:
        """Use ``start`` or ``reopen``."""
        self.client, self.folder, self.run_id = client, folder, run_id
        self._waiting = waiting
        self._refused: list[str] = []

    @classmethod
    def start(
        cls, client: MlflowClient, folder: Path, experiment: str, run_name: str, tags: Mapping[str, str]
    ) -> "Tracker":
        """Begin a run whose queue and identity are kept in ``folder``.

        Raises:
            TrackingError: MLflow refuses the run.
        """
        try:
            found = client.get_experiment_by_name(experiment)
            experiment_id = found.experiment_id if found else client.create_experiment(experiment)
            run = client.create_run(experiment_id, run_name=run_name, tags=dict(tags))
        except Failure as error:
            raise TrackingError(f"MLflow does not take the run {run_name!r}: {_first_line(error)}") from error
        tracker = cls(client, folder, run.info.run_id, [])
        tracker._keep()
        return tracker

    @classmethod
    def reopen(cls, client: MlflowClient, folder: Path) -> "Tracker":
        """Go on with the run of a folder, with what was waiting there.

        Raises:
            TrackingError: The folder holds no run, or MLflow does not know it.
        """
        path = folder / STATE_FILE
        try:
            state = json.loads(path.read_text())
            client.update_run(state["run_id"], status="RUNNING")
        except FileNotFoundError:
            raise TrackingError(f"{path} does not exist: no run was started there.") from None
        except (ValueError, KeyError) as error:
            raise TrackingError(f"{path} is damaged ({error}).") from error
        except Failure as error:
            raise TrackingError(f"MLflow does not know the run of {path}: {_first_line(error)}") from error
        return cls(client, folder, state["run_id"], state["waiting"])

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Log parameters, once each."""
        self._put(kind="parameters", values={k: str(v) for k, v in values.items()})

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics at a step, with the present time."""
        self._put(kind="metrics", values=dict(values), step=step, time=int(time.time() * 1000))

    def file(self, path: Path, to: str) -> None:
        """Log a file, or a folder's content, under a folder of the run's artifacts."""
        self._put(kind="file", path=str(path.resolve()), to=to)

    def model(self, path: Path) -> None:
        """Log a folder that ``mlflow.<flavour>.save_model`` wrote as the run's model."""
        self._put(kind="model", path=str(path.resolve()))

    def finish(self, status: str = "FINISHED") -> list[str]:
        """End the run.

        Returns:
            What could not be sent, in words; empty if all was. ``python -m ml.tracking FOLDER`` sends the rest.
        """
        self._put(kind="status", status=status)
        return self._refused + [_describe(item) for item in self._waiting]

    def flush(self) -> None:
        """Send what waits, until MLflow does not answer."""
        while self._waiting:
            item = self._waiting[0]
            try:
                self._send(item)
            except Failure as error:
                if not self._answers():
                    break
                # The server is there and does not want this one: it must not hold up the rest.
                self._refused.append(f"{_describe(item)} ({_first_line(error)})")
            self._waiting.pop(0)
        self._keep()

    def _put(self, **item: Any) -> None:
        self._waiting.append(item)
        self.flush()

    def _answers(self) -> bool:
        try:
            self.client.get_run(self.run_id)
        except Failure:
            return False
        return True

    def _send(self, item: dict[str, Any]) -> None:
        match item["kind"]:
            case "parameters":
                self.client.log_batch(self.run_id, params=[Param(k, v) for k, v in item["values"].items()])
            case "metrics":
                metrics = [Metric(k, v, item["time"], item["step"]) for k, v in item["values"].items()]
                self.client.log_batch(self.run_id, metrics=metrics)
            case "file" if Path(item["path"]).is_dir():
                self.client.log_artifacts(self.run_id, item["path"], item["to"])
            case "file":
                self.client.log_artifact(self.run_id, item["path"], item["to"])
            case "model":
                self._send_model(Path(item["path"]))
            case "status":
                self.client.set_terminated(self.run_id, item["status"])

    def _send_model(self, path: Path) -> None:
        experiment_id = self.client.get_run(self.run_id).info.experiment_id
        model = self.client.create_logged_model(experiment_id, name="model", source_run_id=self.run_id)
        self.client.log_model_artifacts(model.model_id, str(path))
        self.client.finalize_logged_model(model.model_id, "READY")
        self.client.log_outputs(self.run_id, [mlflow.entities.LoggedModelOutput(model.model_id, 0)])

    def _keep(self) -> None:
        path = self.folder / STATE_FILE
        unfinished = path.with_suffix(".tmp")
        unfinished.write_text(json.dumps({"run_id": self.run_id, "waiting": self._waiting}, indent=1))
        unfinished.replace(path)


def _describe(item: dict[str, Any]) -> str:
    match item["kind"]:
        case "metrics":
            return f"metrics of step {item['step']}"
        case "file" | "model":
            return f"{item['kind']} {item['path']}"
        case kind:
            return str(kind)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Send what a finished training run could not send because MLflow was away."""
    parser = argparse.ArgumentParser(prog="python -m ml.tracking", description=main.__doc__)
    parser.add_argument("run", type=Path, help="the run's folder, such as runs/cats-vs-dogs-20260101-120000")
    parser.add_argument("--tracking-uri", help=f"MLflow's address [MLFLOW_TRACKING_URI, else {DEFAULT_ADDRESS}]")
    options = parser.parse_args(arguments)
    try:
        unsent = Tracker.reopen(connect(options.tracking_uri), options.run).finish()
    except TrackingError as error:
        print(error, file=sys.stderr)
        return 2
    for item in unsent:
        print(f"could not be sent: {item}", file=sys.stderr)
    return 1 if unsent else 0


if __name__ == "__main__":
    sys.exit(main())

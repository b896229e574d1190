"""A training run in MLflow: what cannot be sent now is kept, in order, and sent later."""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from ml.atomic import whole_file
from ml.errors import UserError

STATE_FILE = "tracking.json"
DEFAULT_ADDRESS = f"http://127.0.0.1:{os.environ.get('MLFLOW_PORT') or 5000}"
LONGEST_NAME = 250  # of a metric, in MLflow

# MLflow's own patience is minutes; training must neither start late nor stand still when the server is gone.
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "4", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
QUIET = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}

Failure = (MlflowException, requests.RequestException, OSError)
Silence = (requests.ConnectionError, requests.Timeout)


class TrackingError(UserError):
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
    try:
        mlflow.set_tracking_uri(address)
        client = MlflowClient(address)
        client.search_experiments(max_results=1)
    except Failure as error:
        if not _answered(error):
            advice = "does not answer: start it with `make up` or `make mlflow`, or set MLFLOW_TRACKING_URI"
        elif getattr(error, "error_code", None) == "PERMISSION_DENIED":
            host = urlsplit(address).netloc
            advice = f"answers 403 ({reason(error)}): start it with --allowed-hosts that names {host}, or log in"
        else:
            advice = f"cannot be used ({reason(error)}): see what MLFLOW_TRACKING_URI should be"
        raise TrackingError(f"MLflow at {address} {advice}.") from error
    return client


class Tracker:
    """Sends one run's parameters, metrics, files and model, in order, each once.

    What MLflow does not take is kept in the run's folder and tried again with whatever comes next.
    """

    def __init__(self, client: MlflowClient, folder: Path, run_id: str, state: Mapping[str, Any]) -> None:
        """Use ``start`` or ``reopen``."""
        self.client, self.folder, self.run_id = client, folder, run_id
        self._waiting: list[dict[str, Any]] = state["waiting"]
        # A training that was killed says again what it had said.
        self._said: list[list[Any]] = state.get("said", [])
        self._model_id: str | None = state.get("model_id")
        self._started: int = state.get("started", 0)  # milliseconds since 1970

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
            raise TrackingError(f"MLflow does not take the run {run_name!r}: {reason(error)}.") from error
        tracker = cls(client, folder, run.info.run_id, {"waiting": [], "started": run.info.start_time})
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
            tracker = cls(client, folder, state["run_id"], state)
            client.get_run(tracker.run_id)
        except FileNotFoundError:
            raise TrackingError(f"{path} does not exist: no run was started there.") from None
        except (ValueError, KeyError, TypeError) as error:
            raise TrackingError(f"{path} is damaged ({error}).") from error
        except Failure as error:
            raise TrackingError(f"MLflow does not give the run of {path}: {reason(error)}.") from error
        return tracker

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Log parameters, once each."""
        self._put(kind="parameters", values={k: str(v) for k, v in values.items()})

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics at a step, with the present time; once each, also where a run is resumed and repeats them.

        What has no step is logged again where it has changed: a run that ended may be resumed for more epochs.
        """
        values = {re.sub(r"[^\w.\- :/]", "_", name)[:LONGEST_NAME]: value for name, value in values.items()}
        keys = {name: [name, step] if step else [name, 0, value] for name, value in values.items()}
        new = {name: value for name, value in values.items() if keys[name] not in self._said}
        if not new:
            return
        self._said += [keys[name] for name in new]
        self._put(kind="metrics", values=new, step=step, time=int(time.time() * 1000))

    def file(self, path: Path, to: str) -> None:
        """Log a file, or a folder's content, under a folder of the run's artifacts."""
        self._put(kind="file", path=self._kept_path(path), to=to)

    def model(self, path: Path) -> None:
        """Log a folder that ``mlflow.<flavour>.save_model`` wrote as the run's model."""
        self._put(kind="model", path=self._kept_path(path))

    def status(self, status: str) -> None:
        """Set MLflow's status of the run: ``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``."""
        self._waiting = [item for item in self._waiting if item["kind"] != "status"]
        self._put(kind="status", status=status)

    def finish(self, status: str = "FINISHED") -> list[str]:
        """End the run.

        Returns:
            What could not be sent, in words; empty if all was. ``python -m ml.tracking FOLDER`` sends the rest.
        """
        self.status(status)
        return self.unsent()

    def unsent(self) -> list[str]:
        """What waits, in words."""
        return [_describe(item) for item in self._waiting]

    def flush(self) -> None:
        """Send what waits, in order. What MLflow refuses holds nothing up; where it does not answer, all waits."""
        for item in list(self._waiting):
            try:
                self._send(item)
            except Failure as error:
                item["problem"] = reason(error)
                if not _answered(error):
                    break
            else:
                self._waiting.remove(item)
        self._keep()

    def _put(self, **item: Any) -> None:
        self._waiting.append(item)
        # First, so that a crash while sending loses nothing: MLflow takes all but a model twice without a trace.
        self._keep()
        self.flush()

    def _send(self, item: dict[str, Any]) -> None:
        match item["kind"]:
            case "parameters":
                self.client.log_batch(self.run_id, params=[Param(k, v) for k, v in item["values"].items()])
            case "metrics":
                metrics = [Metric(k, v, item["time"], item["step"]) for k, v in item["values"].items()]
                self.client.log_batch(self.run_id, metrics=metrics)
            case "file" if (path := self.folder / item["path"]).is_dir():
                self.client.log_artifacts(self.run_id, str(path), item["to"])
            case "file":
                self.client.log_artifact(self.run_id, str(self.folder / item["path"]), item["to"])
            case "model":
                self._send_model(item)
            case "status" if item["status"] == "RUNNING":
                self.client.update_run(self.run_id, status="RUNNING")
            case "status":
                # The clock may have been put back meanwhile, and no run ends before it began.
                ended = max(int(time.time() * 1000), self._started)
                self.client.set_terminated(self.run_id, item["status"], ended)

    def _send_model(self, item: dict[str, Any]) -> None:
        if self._model_id is None:
            experiment_id = self.client.get_run(self.run_id).info.experiment_id
            model = self.client.create_logged_model(experiment_id, name="model", source_run_id=self.run_id)
            # Kept at once: a second attempt goes on with this one, and so does a resumed run.
            self._model_id = model.model_id
            self._keep()
        self.client.log_model_artifacts(self._model_id, str(self.folder / item["path"]))
        self.client.finalize_logged_model(self._model_id, "READY")
        outputs = self.client.get_run(self.run_id).outputs
        # MLflow refuses the same one twice.
        if not outputs or self._model_id not in [model.model_id for model in outputs.model_outputs]:
            self.client.log_outputs(self.run_id, [mlflow.entities.LoggedModelOutput(self._model_id, 0)])

    def _kept_path(self, path: Path) -> str:
        # Relative where it can be, so that the run's folder may be moved before all is sent.
        path, folder = path.resolve(), self.folder.resolve()
        return str(path.relative_to(folder) if path.is_relative_to(folder) else path)

    def _keep(self) -> None:
        with whole_file(self.folder / STATE_FILE) as file:
            file.write(json.dumps(self._state(), indent=1).encode())

    def _state(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "started": self._started,
            "waiting": self._waiting,
            "said": self._said,
            "model_id": self._model_id,
        }


def _describe(item: dict[str, Any]) -> str:
    match item["kind"]:
        case "metrics":
            what = f"metrics of step {item['step']}"
        case "file" | "model":
            what = f"{item['kind']} {item['path']}"
        case kind:
            what = str(kind)
    return f"{what} ({item['problem']})" if "problem" in item else what


def _answered(error: BaseException) -> bool:
    """Whether MLflow answered, if only to refuse; else it is gone, or too slow."""
    cause = error if isinstance(error, requests.RequestException) else error.__cause__ or error.__context__
    return not isinstance(cause, Silence)


def reason(error: BaseException) -> str:
    """Say in one line why MLflow did not do what was asked."""
    if not _answered(error):
        return "MLflow does not answer"
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def main(arguments: Sequence[str] | None = None) -> int:
    """Send what a finished training run could not send because MLflow was away."""
    parser = argparse.ArgumentParser(prog="python -m ml.tracking", description=main.__doc__)
    parser.add_argument("run", type=Path, help="the run's folder, such as runs/cats-vs-dogs-20260101-120000")
    parser.add_argument(
        "--tracking-uri", help=f"MLflow's address [MLFLOW_TRACKING_URI, else MLFLOW_PORT: {DEFAULT_ADDRESS}]"
    )
    options = parser.parse_args(arguments)
    try:
        tracker = Tracker.reopen(connect(options.tracking_uri), options.run)
    except TrackingError as error:
        print(error, file=sys.stderr)
        return 2
    tracker.flush()
    for item in tracker.unsent():
        print(f"could not be sent: {item}", file=sys.stderr)
    return 1 if tracker.unsent() else 0

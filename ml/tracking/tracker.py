"""Log a training run to MLflow; what cannot be sent now is kept in order and sent later."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from ml.atomic import whole_file
from ml.tracking.client import (
    Failure,
    TrackingError,
    answered,
    artifact_folder,
    failed_in_server,
    file_timeout,
    reason,
    timed_out,
)
from ml.tracking.names import metric_name, shortened

STATE_FILE = "tracking.json"
MODEL = "model"
# MLflow 3 opens other experiments with its page for language models.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
FILES = ("file", "model")
DIGEST = 36  # characters, the most that MLflow stores


class Tracker:
    """Sends the parameters, metrics, files and model of one run, in order, each once.

    Items that MLflow does not accept stay in the run's folder and are sent again with the next item.
    """

    def __init__(self, client: MlflowClient, folder: Path, run_id: str, state: Mapping[str, Any]) -> None:
        """Use ``start`` or ``reopen``."""
        self.client, self.folder, self.run_id = client, folder, run_id
        self._pending: list[dict[str, Any]] = state["waiting"]
        # A resumed training logs its metrics again. Older versions kept no value of metrics with a step.
        self._logged = {(name, step): value[0] if value else None for name, step, *value in state.get("said", [])}
        self._model_id: str | None = state.get("model_id")
        self._started: int = state.get("started", 0)  # milliseconds since 1970
        # Files that MLflow did not take in time: the next epoch must not wait for them again.
        self._too_slow: list[dict[str, Any]] = []

    @classmethod
    def start(
        cls, client: MlflowClient, folder: Path, experiment: str, run_name: str, tags: Mapping[str, str]
    ) -> "Tracker":
        """Start a run whose ID and queue are kept in ``folder``.

        Raises:
            TrackingError: MLflow refuses the run.
        """
        try:
            found = client.get_experiment_by_name(experiment)
            experiment_id = (
                found.experiment_id
                if found
                else client.create_experiment(experiment, artifact_folder(client), EXPERIMENT_TAGS)
            )
            run = client.create_run(experiment_id, run_name=run_name, tags=dict(tags))
        except Failure as error:
            raise TrackingError(f"MLflow does not accept the run {run_name!r}: {reason(error)}.") from error
        tracker = cls(client, folder, run.info.run_id, {"waiting": [], "started": run.info.start_time})
        tracker._save()
        return tracker

    @classmethod
    def reopen(cls, client: MlflowClient, folder: Path) -> "Tracker":
        """Continue the run of a folder, with its queue.

        Raises:
            TrackingError: The folder has no run, or MLflow does not know it.
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
            raise TrackingError(f"MLflow does not return the run of {path}: {reason(error)}.") from error
        return tracker

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Log parameters."""
        self._add(kind="parameters", values={k: shortened(str(v)) for k, v in values.items()})

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics at a step, with the present time; a resumed run logs only those that changed."""
        values = {metric_name(name): value for name, value in values.items()}
        new = {name: value for name, value in values.items() if not self._has_logged(name, step, value)}
        if not new:
            return
        self._logged |= {(name, step): value for name, value in new.items()}
        self._add(kind="metrics", values=new, step=step, time=int(time.time() * 1000))

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags, which may change, unlike parameters."""
        self._add(kind="tags", values={name: str(value) for name, value in values.items()})

    def dataset(self, name: str, fingerprint: str, source: str, counts: Mapping[str, Any]) -> None:
        """Log the data set that the run learns from: its origin, and its number of images by split and class."""
        fields = {"name": name, "digest": fingerprint[:DIGEST], "source_type": "local"}
        texts = {"source": json.dumps({"uri": source}), "profile": json.dumps(counts)}
        self._add(kind="dataset", fields=fields | texts)

    def file(self, path: Path, to: str) -> None:
        """Log a file, or the content of a folder, under a folder of the run's artifacts."""
        self._add(kind="file", path=self._relative(path), to=to)

    def model(self, path: Path) -> None:
        """Log a folder of ``mlflow.<flavour>.save_model`` as the run's model."""
        self._add(kind="model", path=self._relative(path))

    def status(self, status: str) -> None:
        """Set the run's status: ``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``."""
        self._pending = [item for item in self._pending if item["kind"] != "status"]
        self._add(kind="status", status=status)

    @contextlib.contextmanager
    def ended_on_error(self) -> Iterator[None]:
        """End the run as ``KILLED`` or ``FAILED`` if Ctrl-C or an error leaves the block."""
        try:
            yield
        except BaseException as error:
            self.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise

    def finish(self, status: str = "FINISHED") -> list[str]:
        """End the run; see ``unsent`` for the result."""
        if status == "FINISHED":
            self._too_slow.clear()
        self.status(status)
        return self.unsent()

    def unsent(self) -> list[str]:
        """Describe the items that could not be sent; ``python -m ml.tracking FOLDER`` sends them."""
        return [_describe(item) for item in self._pending]

    def has_sent(self, path: Path) -> bool:
        """Tell whether MLflow has a logged file or folder, and answered the last request."""
        waiting = [(item["kind"], item.get("path")) for item in self._pending]
        return ("file", self._relative(path)) not in waiting and ("status", None) not in waiting

    def flush(self) -> None:
        """Send the queue in order. An item that fails is skipped; if MLflow does not answer, the rest waits."""
        for item in [item for item in self._pending if item not in self._too_slow]:
            is_file = item["kind"] in FILES
            try:
                with file_timeout() if is_file else contextlib.nullcontext():
                    self._try(item)
            except Failure as error:
                if timed_out(error) and is_file:
                    self._too_slow.append(item)
                # A file that is slow or breaks the connection does not tell whether MLflow answers.
                if not answered(error) and not (is_file and self._is_up()):
                    break
        self._save()

    def _has_logged(self, name: str, step: int, value: float) -> bool:
        return (name, step) in self._logged and self._logged[name, step] in (value, None)

    def _try(self, item: dict[str, Any]) -> None:
        try:
            self._send(item)
        except Failure as error:
            item["problem"] = reason(error)
            raise
        self._pending.remove(item)

    def _is_up(self) -> bool:
        try:
            self.client.get_run(self.run_id)
        except Failure as error:
            return answered(error)
        return True

    def _add(self, **item: Any) -> None:
        self._pending.append(item)
        # Saved before sending: a crash loses nothing, and MLflow accepts everything but a model twice.
        self._save()
        self.flush()

    def _send(self, item: dict[str, Any]) -> None:
        match item["kind"]:
            case "parameters":
                self.client.log_batch(self.run_id, params=[Param(k, v) for k, v in item["values"].items()])
            case "metrics":
                metrics = [Metric(k, v, item["time"], item["step"]) for k, v in item["values"].items()]
                self.client.log_batch(self.run_id, metrics=metrics)
            case "tags":
                self.client.log_batch(self.run_id, tags=[RunTag(k, v) for k, v in item["values"].items()])
            case "dataset":
                tags = [InputTag("mlflow.data.context", "training")]
                try:
                    self.client.log_inputs(self.run_id, [DatasetInput(Dataset(**item["fields"]), tags)])
                except MlflowException as error:
                    if not _refused(error):  # MLflow 2.3 has no data sets; the run's parameters name them too
                        raise
            case "file" if (path := self.folder / item["path"]).is_dir():
                self.client.log_artifacts(self.run_id, str(path), item["to"])
            case "file":
                self.client.log_artifact(self.run_id, str(self.folder / item["path"]), item["to"])
            case "model":
                try:
                    self._send_model(item)
                except MlflowException as error:
                    if not _refused(error):
                        raise
                    # MLflow 2 and many hosted servers have no logged models.
                    self.client.log_artifacts(self.run_id, str(self.folder / item["path"]), MODEL)
            case "status" if item["status"] == "RUNNING":
                self.client.update_run(self.run_id, status="RUNNING")
            case "status":
                # The clock may have been set back, and a run must not end before its start.
                end_time = max(int(time.time() * 1000), self._started)
                self.client.set_terminated(self.run_id, item["status"], end_time)

    def _send_model(self, item: dict[str, Any]) -> None:
        if self._model_id is None:
            experiment_id = self.client.get_run(self.run_id).info.experiment_id
            model = self.client.create_logged_model(experiment_id, name=MODEL, source_run_id=self.run_id)
            # Saved at once, so that a second attempt and a resumed run use the same model.
            self._model_id = model.model_id
            self._save()
        self.client.log_model_artifacts(self._model_id, str(self.folder / item["path"]))
        self.client.finalize_logged_model(self._model_id, "READY")
        outputs = self.client.get_run(self.run_id).outputs
        # MLflow refuses the same output twice.
        if not outputs or self._model_id not in [model.model_id for model in outputs.model_outputs]:
            self.client.log_outputs(self.run_id, [LoggedModelOutput(self._model_id, 0)])

    def _relative(self, path: Path) -> str:
        # Relative where possible, so that the run's folder may be moved before everything is sent.
        path, folder = path.resolve(), self.folder.resolve()
        return str(path.relative_to(folder) if path.is_relative_to(folder) else path)

    def _save(self) -> None:
        state = {
            "run_id": self.run_id,
            "started": self._started,
            "waiting": self._pending,
            "said": [[*key, value] for key, value in self._logged.items()],
            "model_id": self._model_id,
        }
        with whole_file(self.folder / STATE_FILE) as file:
            file.write(json.dumps(state, indent=1).encode())


def _refused(error: MlflowException) -> bool:
    """Tell whether MLflow answered that it will never take a request."""
    return answered(error) and not failed_in_server(error)


def _describe(item: dict[str, Any]) -> str:
    match item["kind"]:
        case "metrics":
            text = f"metrics of step {item['step']}"
        case "file" | "model":
            text = f"{item['kind']} {item['path']}"
        case kind:
            text = str(kind)
    return f"{text} ({item['problem']})" if "problem" in item else text

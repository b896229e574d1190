"""Start a run, and read what MLflow has of it."""

import json
from collections.abc import Callable

import pytest
from mlflow import MlflowClient

from ml.tracking.client import connect
from ml.tracking.tracker import STATE_FILE, Tracker


@pytest.fixture
def start(tmp_path) -> Callable[[str], Tracker]:
    """Start a run on the server at an address, with a bundle's folder, a plot and a saved model."""

    def start(address: str) -> Tracker:
        folder = tmp_path / "run"
        for name in ("bundle/model.onnx", "bundle/deep/card.md", "plot.png", "model/MLmodel"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
        return Tracker.start(connect(address), folder, "tracking tests", "run", {"dataset": "drawn"})

    return start


def pending(tracker: Tracker) -> list[str]:
    return [item["kind"] for item in json.loads((tracker.folder / STATE_FILE).read_text())["waiting"]]


def history(client: MlflowClient, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run_id, name)]


def artifacts(client: MlflowClient, run_id: str, path: str | None = None) -> set[str]:
    return {file.path for file in client.list_artifacts(run_id, path)}


def log_all(tracker: Tracker) -> None:
    tracker.file(tracker.folder / "bundle", to="bundle/1")
    tracker.file(tracker.folder / "plot.png", to="plots")
    tracker.model(tracker.folder / "model")

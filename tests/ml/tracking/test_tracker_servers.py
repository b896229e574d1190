"""A run arrives at the MLflow servers that people have: with slow stores, or without logged models."""

import os

import pytest
from mlflow import MlflowClient

from ml.tracking.__main__ import main
from ml.tracking.client import FILE_TIMEOUT, SETTINGS, TIMEOUT
from ml.tracking.names import metric_name
from ml.tracking.tracker import Tracker
from tests.ml.tracking.conftest import artifacts, history, log_all, pending
from tests.services.monitor.stubs import answer, relay, serving


@pytest.fixture
def impatient(monkeypatch):
    """Wait one second for files, and as long as in other tests for everything else."""
    monkeypatch.setitem(SETTINGS, TIMEOUT, os.environ[TIMEOUT])
    monkeypatch.setattr("ml.tracking.client.FILE_TIMEOUT", "1")


def hanging(mlflow_address, names, puts):
    """Forward all but files of these names, which get no answer; note the names of all files."""

    def respond(handler, body):
        name = handler.path.rpartition("/")[2]
        if handler.command == "PUT":
            puts.append(name)
        if handler.command == "PUT" and name in names:
            handler.rfile.read(1)  # until the client gives up
        else:
            relay(mlflow_address)(handler, body)

    return respond


def test_files_have_more_time_than_requests(mlflow_address, start, monkeypatch):
    monkeypatch.setitem(SETTINGS, TIMEOUT, os.environ[TIMEOUT])
    timeouts = {}

    def respond(handler, body):
        timeouts.setdefault(handler.command, set()).add(os.environ[TIMEOUT])
        relay(mlflow_address)(handler, body)

    with serving(respond) as address:
        tracker = start(address)
        log_all(tracker)
        assert tracker.finish() == []
    assert timeouts["PUT"] == {FILE_TIMEOUT} and SETTINGS[TIMEOUT] in timeouts["POST"]
    assert os.environ[TIMEOUT] == SETTINGS[TIMEOUT]


def test_timeout_of_the_user_stays_for_files(mlflow_address, start, monkeypatch):
    monkeypatch.setenv(TIMEOUT, "77")
    timeouts = set()

    def respond(handler, body):
        timeouts.add(os.environ[TIMEOUT])
        relay(mlflow_address)(handler, body)

    with serving(respond) as address:
        log_all(start(address))
    assert timeouts == {"77"}


@pytest.mark.parametrize("slow", ["plot.png", "model.onnx", "MLmodel"])
def test_slow_file_holds_up_nothing(mlflow_address, start, impatient, slow):
    puts, hangs = [], {slow}
    with serving(hanging(mlflow_address, hangs, puts)) as address:
        tracker = start(address)
        log_all(tracker)
        for step in (1, 2, 3):
            tracker.metrics({"loss": step}, step=step)
        assert puts.count(slow) == 1, "every epoch waits for the slow file again"
        (unsent,) = tracker.finish()
        assert f"within 1 s: set {TIMEOUT} to more seconds" in unsent
        assert tracker.has_sent(tracker.folder / "bundle") is (slow != "model.onnx")
        assert tracker.has_sent(tracker.folder / "plot.png") is (slow != "plot.png")
        client = tracker.client
        assert history(client, tracker.run_id, "loss") == [(1, 1), (2, 2), (3, 3)]
        assert client.get_run(tracker.run_id).info.status == "FINISHED"
        hangs.clear()
        assert main([str(tracker.folder), "--tracking-uri", address]) == 0
        assert pending(tracker) == []
        assert len(client.get_run(tracker.run_id).outputs.model_outputs) == 1


def test_file_that_breaks_the_connection_holds_up_nothing(mlflow_address, start):
    def respond(handler, body):
        if not handler.path.endswith("plot.png"):
            relay(mlflow_address)(handler, body)

    with serving(respond) as address:
        tracker = start(address)
        log_all(tracker)
        tracker.metrics({"loss": 1}, step=1)
        assert pending(tracker) == ["file"] and not tracker.has_sent(tracker.folder / "plot.png")
        assert history(tracker.client, tracker.run_id, "loss") == [(1, 1)]


def test_nothing_counts_as_sent_while_mlflow_is_lost(mlflow_address, start):
    with serving(relay(mlflow_address)) as address:
        tracker = start(address)
        tracker.file(tracker.folder / "bundle", to="bundle/1")
        assert tracker.has_sent(tracker.folder / "bundle")
    tracker.finish()
    assert not tracker.has_sent(tracker.folder / "bundle")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b"<!doctype html><title>404 Not Found</title>", "text/html"),
        (404, {"error_code": "ENDPOINT_NOT_FOUND", "message": "No API found for 'POST /mlflow/logged-models'"}, None),
        (405, b"Method Not Allowed", "text/plain"),
        (501, b"", "text/plain"),
        (403, {"message": "Missing Authentication Token"}, None),
    ],
)
def test_old_server_gets_the_model_as_artifacts_and_no_data_set(mlflow_address, start, status, body, kind):
    def respond(handler, data):
        if "/logged-models" in handler.path or handler.path.endswith("/log-inputs"):
            answer(handler, status, body, kind or "application/json")
        else:
            relay(mlflow_address)(handler, data)

    with serving(respond) as address:
        tracker = start(address)
        tracker.dataset("drawn", "a" * 64, "drawn", {})
        log_all(tracker)
        assert tracker.finish() == []
    client = MlflowClient(mlflow_address)
    assert artifacts(client, tracker.run_id, "model") == {"model/MLmodel"}
    assert client.get_run(tracker.run_id).info.status == "FINISHED"


def test_model_waits_while_logged_models_fail_in_the_server(mlflow_address, start):
    broken = True

    def respond(handler, body):
        if broken and "/logged-models" in handler.path:
            answer(handler, 503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "busy"})
        else:
            relay(mlflow_address)(handler, body)

    with serving(respond) as address:
        tracker = start(address)
        log_all(tracker)
        assert pending(tracker) == ["model"]
        broken = False
        assert tracker.finish() == []
        assert len(tracker.client.get_run(tracker.run_id).outputs.model_outputs) == 1


def test_missing_package_of_an_artifact_store_is_named(mlflow_address, start, monkeypatch):
    tracker = start(mlflow_address)

    def log_artifact(*_):
        raise ModuleNotFoundError("No module named 'boto3'")

    monkeypatch.setattr(tracker.client, "log_artifact", log_artifact)
    log_all(tracker)
    (unsent,) = tracker.finish()
    assert unsent == "file plot.png (No module named 'boto3')"


def test_metrics_of_similar_classes_stay_apart(mlflow_address, start):
    tracker = start(mlflow_address)
    tracker.metrics({"recall_c#": 0.25, "recall_c+": 0.5, "recall_猫": 0.75})
    tracker.parameters({"classes": ", ".join(f"class {i}" for i in range(1000))})
    assert tracker.finish() == []
    run = tracker.client.get_run(tracker.run_id)
    assert run.data.metrics == {metric_name("recall_c#"): 0.25, metric_name("recall_c+"): 0.5, "recall_猫": 0.75}
    assert run.data.params["classes"].startswith("class 0, class 1")


# MLflow's own use of SQLAlchemy.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_artifacts_of_a_database_file_are_beside_it(tmp_path, start, monkeypatch):
    (tmp_path / "checkout").mkdir()
    monkeypatch.chdir(tmp_path / "checkout")
    tracker: Tracker = start(f"sqlite:///{tmp_path}/store/mlflow.db")
    log_all(tracker)
    assert tracker.finish() == []
    assert list((tmp_path / "checkout").iterdir()) == []
    assert {path.name for path in (tmp_path / "store").iterdir()} == {"mlflow.db", "mlartifacts"}
    assert artifacts(tracker.client, tracker.run_id, "plots") == {"plots/plot.png"}

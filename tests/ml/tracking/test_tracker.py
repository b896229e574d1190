"""A run arrives in MLflow completely, in order and once, whatever happens to the server."""

import json
import re
import shutil

import mlflow
import pytest
import requests
from mlflow import MlflowClient

from ml.tracking.__main__ import main
from ml.tracking.client import TrackingError, connect
from ml.tracking.names import metric_name
from ml.tracking.tracker import STATE_FILE, Tracker
from tests.ml.tracking.conftest import artifacts, history, log_all, pending
from tests.services.monitor.stubs import answer, relay, serving


def assert_complete(client: MlflowClient, run_id: str) -> None:
    assert artifacts(client, run_id, "bundle/1") == {"bundle/1/model.onnx", "bundle/1/deep"}
    assert artifacts(client, run_id, "bundle/1/deep") == {"bundle/1/deep/card.md"}
    assert artifacts(client, run_id, "plots") == {"plots/plot.png"}
    run = client.get_run(run_id)
    (output,) = run.outputs.model_outputs
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    assert [model.model_id for model in models] == [output.model_id], "one model, and it is the run's"
    assert models[0].status == "READY" and models[0].name == "model"
    assert mlflow.artifacts.list_artifacts(models[0].artifact_location, tracking_uri=client.tracking_uri)[
        0
    ].path.endswith("MLmodel")


def test_run_arrives_completely(mlflow_address, start):
    tracker = start(mlflow_address)
    tracker.parameters({"size": 128, "classes": "cat, dog"})
    tracker.tags({"blend": 0.25})
    tracker.dataset("drawn", "a" * 64, "https://host/drawn.zip", {"train": {"cat": 2}})
    for step in (1, 2, 3):
        tracker.metrics({"loss": 1 / step, "recall_hund (groß) $": 0.5}, step=step)
    log_all(tracker)
    client = tracker.client
    assert client.get_run(tracker.run_id).info.status == "RUNNING"
    assert tracker.finish() == [] and pending(tracker) == []
    run = client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED" and run.info.run_name == "run"
    assert run.data.params == {"size": "128", "classes": "cat, dog"}
    assert (run.data.tags["dataset"], run.data.tags["blend"]) == ("drawn", "0.25")
    experiment = client.get_experiment(run.info.experiment_id)
    assert experiment.name == "tracking tests"
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    (logged,) = run.inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("drawn", "a" * 36)
    assert json.loads(logged.dataset.source) == {"uri": "https://host/drawn.zip"}
    assert history(client, tracker.run_id, "loss") == [(1, 1), (2, 0.5), (3, 1 / 3)]
    assert len(history(client, tracker.run_id, metric_name("recall_hund (groß) $"))) == 3
    assert_complete(client, tracker.run_id)


def test_server_back_after_an_outage_gets_everything_in_order_once(mlflow_address, start):
    with serving(relay(mlflow_address)) as address:
        tracker = start(address)
        tracker.metrics({"loss": 1.0}, step=1)
        assert pending(tracker) == []
    tracker.metrics({"loss": 0.5}, step=2)
    log_all(tracker)
    tracker.metrics({"loss": 0.25}, step=3)
    assert pending(tracker) == ["metrics", "file", "file", "model", "metrics"]
    assert tracker.unsent()[:2] == ["metrics of step 2 (MLflow does not answer)", "file bundle"]
    with serving(relay(mlflow_address), port=int(address.rpartition(":")[2])):
        tracker.metrics({"loss": 0.125}, step=4)
        assert tracker.finish() == [] and pending(tracker) == []
    client = MlflowClient(mlflow_address)
    assert history(client, tracker.run_id, "loss") == [(1, 1), (2, 0.5), (3, 0.25), (4, 0.125)]
    assert client.get_run(tracker.run_id).info.status == "FINISHED"
    assert_complete(client, tracker.run_id)


def test_unsent_items_are_named_kept_and_sent_by_the_command(mlflow_address, start, tmp_path, capsys):
    with serving(relay(mlflow_address)) as address:
        tracker = start(address)
    tracker.metrics({"loss": 1.0}, step=1)
    log_all(tracker)
    unsent = tracker.finish("FAILED")
    assert [text.partition(" (")[0] for text in unsent] == [
        "metrics of step 1",
        "file bundle",
        "file plot.png",
        "model model",
        "status",
    ]
    assert len(pending(tracker)) == 5
    # The command needs only the folder, which may have been moved.
    moved = tmp_path / "moved"
    shutil.move(tracker.folder, moved)
    assert main([str(moved), "--tracking-uri", address]) == 2
    assert re.search("MLflow at .* does not answer", capsys.readouterr().err)
    assert main([str(moved), "--tracking-uri", mlflow_address]) == 0
    client = MlflowClient(mlflow_address)
    assert history(client, tracker.run_id, "loss") == [(1, 1)]
    assert client.get_run(tracker.run_id).info.status == "FAILED", "a failed run became finished"
    assert_complete(client, tracker.run_id)
    assert main([str(moved), "--tracking-uri", mlflow_address]) == 0
    assert client.get_run(tracker.run_id).info.status == "FAILED"
    assert history(client, tracker.run_id, "loss") == [(1, 1)]


def test_ctrl_c_stops_the_command_without_a_traceback(mlflow_address, start, capsys, monkeypatch):
    tracker = start(mlflow_address)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Tracker, "flush", interrupt)
    assert main([str(tracker.folder), "--tracking-uri", mlflow_address]) == 130
    assert "Stopped." in capsys.readouterr().err


def test_failing_item_does_not_hold_up_others(mlflow_address, start, capsys):
    broken = True

    def respond(handler, body):
        if broken and b'"step": 2' in body:
            answer(handler, 500, {"error_code": "INTERNAL_ERROR", "message": "database is locked"})
        else:
            relay(mlflow_address)(handler, body)

    with serving(respond) as address:
        tracker = start(address)
        for step in (1, 2, 3):
            tracker.metrics({"loss": step}, step=step)
        assert history(tracker.client, tracker.run_id, "loss") == [(1, 1), (3, 3)]
        (unsent,) = tracker.finish()
        assert unsent.startswith("metrics of step 2 (") and "500" in unsent
        assert main([str(tracker.folder), "--tracking-uri", address]) == 1
        assert "could not be sent: metrics of step 2" in capsys.readouterr().err
        broken = False
        assert main([str(tracker.folder), "--tracking-uri", address]) == 0
        assert sorted(history(tracker.client, tracker.run_id, "loss")) == [(1, 1), (2, 2), (3, 3)]
        assert tracker.client.get_run(tracker.run_id).info.status == "FINISHED"


def test_lost_answer_duplicates_nothing(mlflow_address, start):
    losing = True

    def respond(handler, body):
        if not losing:
            relay(mlflow_address)(handler, body)
        else:
            kind = handler.headers.get("Content-Type", "")
            url = f"{mlflow_address}{handler.path}"
            assert requests.request(handler.command, url, data=body, headers={"Content-Type": kind}, timeout=30).ok
            # MLflow did it, and the connection breaks without an answer.

    with serving(respond) as address:
        losing = False
        tracker = start(address)
        losing = True
        tracker.metrics({"loss": 1.0}, step=1)
        assert pending(tracker) == ["metrics"]
        losing = False
        log_all(tracker)
        assert history(tracker.client, tracker.run_id, "loss") == [(1, 1)]
        assert_complete(tracker.client, tracker.run_id)


def test_interrupted_model_upload_continues_as_the_same_model(mlflow_address, start):
    broken = True

    def respond(handler, body):
        if not broken or handler.command != "PUT":
            relay(mlflow_address)(handler, body)

    with serving(respond) as address:
        tracker = start(address)
        tracker.model(tracker.folder / "model")
        tracker.flush()
        assert pending(tracker) == ["model"]
        broken = False
        again = Tracker.reopen(connect(address), tracker.folder)
        log_all(again)
        run = again.client.get_run(again.run_id)
        models = again.client.search_logged_models([run.info.experiment_id], f"source_run_id = '{again.run_id}'")
        assert len(models) == 1, "more than one model for a run"
        assert {model.status for model in models} == {"READY"}


def test_metric_is_sent_again_if_its_value_changed(mlflow_address, start):
    tracker = start(mlflow_address)
    for loss in (0.5, 0.5, 0.25, 0.5):
        tracker = Tracker.reopen(tracker.client, tracker.folder)
        tracker.metrics({"loss": loss, "accuracy": 0.75}, step=1)
        tracker.metrics({"test/loss": loss})
    client, run_id = tracker.client, tracker.run_id
    assert sorted(history(client, run_id, "loss")) == [(1, 0.25), (1, 0.5), (1, 0.5)]
    assert history(client, run_id, "accuracy") == [(1, 0.75)]
    data = client.get_run(run_id).data
    assert (data.metrics["loss"], data.metrics["test/loss"]) == (0.5, 0.5)


def test_metrics_that_an_older_version_has_sent_are_not_sent_again(mlflow_address, start):
    tracker = start(mlflow_address)
    path = tracker.folder / STATE_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"said": [["loss", 1], ["test/loss", 0, 0.5]]}))
    tracker = Tracker.reopen(tracker.client, tracker.folder)
    tracker.metrics({"loss": 0.5}, step=1)
    tracker.metrics({"test/loss": 0.5})
    assert tracker.client.get_run(tracker.run_id).data.metrics == {}
    tracker.metrics({"test/loss": 0.25})
    assert tracker.client.get_run(tracker.run_id).data.metrics == {"test/loss": 0.25}


def test_crash_while_sending_loses_nothing(mlflow_address, start, monkeypatch):
    tracker = start(mlflow_address)

    def crash(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tracker.client, "log_batch", crash)
        tracker.metrics({"loss": 1.0}, step=1)
    again = Tracker.reopen(connect(mlflow_address), tracker.folder)
    again.status("RUNNING")
    assert history(again.client, again.run_id, "loss") == [(1, 1)]
    assert again.finish() == []


def test_missing_file_and_deleted_run_are_named(mlflow_address, start):
    tracker = start(mlflow_address)
    tracker.file(tracker.folder / "gone.png", to="plots")
    (unsent,) = tracker.finish()
    assert unsent.startswith("file gone.png (") and "No such file" in unsent
    assert tracker.client.get_run(tracker.run_id).info.status == "FINISHED"
    tracker.client.delete_run(tracker.run_id)
    tracker.metrics({"loss": 1.0}, step=1)
    assert tracker.unsent()[1].startswith("metrics of step 1 (")


def test_flush_asks_a_silent_server_once(mlflow_address, start, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    silent, asked = False, []

    def respond(handler, body):
        asked.append(handler.path)
        if not silent:
            relay(mlflow_address)(handler, body)
        else:
            handler.rfile.read(1)  # until the client gives up

    with serving(respond) as address:
        tracker = start(address)
        silent = True
        asked.clear()
        for step in (1, 2, 3):
            tracker.metrics({"loss": 1.0}, step=step)
        assert len(asked) == 3
    assert len(pending(tracker)) == 3


def test_missing_or_damaged_run_is_not_reopened(mlflow_address, tmp_path):
    client = connect(mlflow_address)
    with pytest.raises(TrackingError, match=r"does not exist: no run was started there"):
        Tracker.reopen(client, tmp_path)
    for content in ("{", "[]", '{"run_id": "x"}'):
        (tmp_path / STATE_FILE).write_text(content)
        with pytest.raises(TrackingError, match="is damaged"):
            Tracker.reopen(client, tmp_path)
    (tmp_path / STATE_FILE).write_text('{"run_id": "0123456789abcdef", "waiting": []}')
    with pytest.raises(TrackingError, match=r"does not return the run of .*0123456789abcdef"):
        Tracker.reopen(client, tmp_path)


def test_deleted_experiment_is_explained(mlflow_address, tmp_path):
    client = connect(mlflow_address)
    client.delete_experiment(client.create_experiment("deleted"))
    with pytest.raises(TrackingError, match=r"MLflow does not accept the run 'run': .*deleted"):
        Tracker.start(client, tmp_path, "deleted", "run", {})

"""Results reach a real MLflow server once, in order and unchanged, whatever fails on the way."""

import fcntl
import io
import json
import os
import socket
import uuid

import pytest
from mlflow import MlflowClient

from services.monitor.outbox import LostError, Outbox, deliver
from services.monitor.result import Result
from services.monitor.settings import Settings
from tests import servers
from tests.services.monitor import stubs


@pytest.fixture
def settings(tmp_path, mlflow_address):
    """A new experiment and an empty outbox."""
    return Settings(
        mlflow_tracking_uri=mlflow_address,
        mlflow_experiment_name=f"monitor-{uuid.uuid4().hex}",
        tracking_timeout=120,
        spool_dir=tmp_path / "spool",
    )


def at(settings, address, **changes):
    return settings.model_copy(update={"mlflow_tracking_uri": address} | changes)


def result(number=1, **changes):
    values = {
        "started": 1_700_000_000_000 + 1000 * number,
        "ended": 1_700_000_000_250 + 1000 * number,
        "healthy": True,
        "predict_url": "http://service",
        "model_name": "stub",
        "model_version": "7",
        "metrics": {"post_deploy_accuracy": number / 10, "post_deploy_failures": 0.0},
        "problems": [],
    }
    return Result.model_validate(values | changes)


def runs(settings):
    """Return the experiment's runs, oldest first."""
    client = MlflowClient(settings.mlflow_tracking_uri)
    experiment = client.get_experiment_by_name(settings.mlflow_experiment_name)
    return client.search_runs([experiment.experiment_id], order_by=["start_time ASC"]) if experiment else []


def accuracies(settings):
    return [run.data.metrics["post_deploy_accuracy"] for run in runs(settings)]


def test_deliver_twice_creates_one_run_with_the_whole_result(settings):
    sent = result(problems=["First.", "Second."], healthy=False)
    assert deliver(sent, settings) == [] == deliver(sent, settings)
    (run,) = runs(settings)
    assert run.info.status == "FINISHED"
    assert (run.info.start_time, run.info.end_time) == (sent.started, sent.ended)
    assert run.data.metrics == sent.metrics
    history = MlflowClient(settings.mlflow_tracking_uri).get_metric_history(run.info.run_id, "post_deploy_accuracy")
    assert [m.timestamp for m in history] == [sent.ended]
    assert run.data.params == {"model_name": "stub", "model_version": "7"}
    tags = {"result_id": sent.result_id, "healthy": "false", "mlflow.note.content": "First.\n\nSecond."}
    assert tags.items() <= run.data.tags.items()
    assert Outbox(settings.spool_dir).waiting() == []


def test_deliver_waiting_results_go_out_once_in_order(settings, mlflow_address):
    port = servers.free_port()
    down = at(settings, f"http://127.0.0.1:{port}")
    for number in (1, 2):
        notes = deliver(result(number), down)
        assert "cannot be reached" in notes[0] and f"{number} result(s) wait" in notes[1]
    relay, created = stubs.relay(mlflow_address), []

    def respond(handler, body):
        if handler.path.endswith("runs/create"):
            created.append(json.loads(body)["start_time"])
        relay(handler, body)

    with stubs.serving(respond, port):
        assert deliver(result(3), down) == [] == deliver(result(4), down)
    assert accuracies(settings) == [0.1, 0.2, 0.3, 0.4]
    assert created == [result(n).started for n in (1, 2, 3, 4)]


# The requests of a first delivery: find the experiment, create it, search the run, create it, log, end it.
@pytest.mark.parametrize("request_number", range(1, 7))
def test_deliver_server_dying_after_a_request_gets_it_once(settings, mlflow_address, request_number):
    with stubs.dying(mlflow_address, after=request_number) as address:
        notes = deliver(result(), at(settings, address))
    assert "cannot be reached" in notes[0] and "1 result(s) wait" in notes[1]
    assert deliver(result(2), settings) == []
    assert accuracies(settings) == [0.1, 0.2]
    assert all(r.info.status == "FINISHED" and r.data.params["model_version"] == "7" for r in runs(settings))


class _ResponseDiscarded:
    """A request whose response goes nowhere."""

    def __init__(self, handler):
        self.command, self.path, self.headers = handler.command, handler.path, handler.headers
        self.send_response = self.send_header = self.end_headers = lambda *_: None
        self.wfile = io.BytesIO()


def test_deliver_request_answered_500_is_not_repeated(settings, mlflow_address):
    """MLflow's client retries a 500 by default, even for "create run"."""

    def respond(handler, body):
        if handler.path.endswith("runs/create"):
            stubs.relay(mlflow_address)(_ResponseDiscarded(handler), body)
            return stubs.answer(handler, 500, {"error_code": "INTERNAL_ERROR", "message": "lost my disk"})
        return stubs.relay(mlflow_address)(handler, body)

    with stubs.serving(respond) as address:
        assert "see the server's log" in deliver(result(1), at(settings, address))[0]
    assert deliver(result(2), settings) == []
    assert accuracies(settings) == [0.1, 0.2]


def test_deliver_damaged_files_are_set_aside_and_block_nothing(settings):
    outbox = Outbox(settings.spool_dir)
    outbox.keep(result(2))
    damaged = {"0-half.json": b'{"result_id": "a', "1-binary.json": b"\xff\0", "2-empty.json": b"", "cut-off.tmp": b"{"}
    for name, content in damaged.items():
        (outbox.folder / name).write_bytes(content)
    os.utime(outbox.folder / "cut-off.tmp", (1, 1))
    writing = outbox.folder / "another-run-writes.tmp"
    writing.write_bytes(b"{")
    notes = deliver(result(3), settings)
    assert len(notes) == 4
    assert all(sum(name in note for note in notes) == 1 for name in damaged)
    assert (outbox.folder / "0-half.json.damaged").read_bytes() == damaged["0-half.json"]
    assert writing.exists()
    assert accuracies(settings) == [0.2, 0.3]
    assert deliver(result(4), settings) == []


def test_deliver_result_rejected_by_mlflow_blocks_nothing(settings):
    Outbox(settings.spool_dir).keep(result(1, metrics={"not/allowed(": 1.0}))
    (note,) = deliver(result(2), settings)
    assert ".rejected" in note
    assert [run.info.status for run in runs(settings)] == ["FAILED", "FINISHED"]


@pytest.mark.parametrize(
    "respond",
    [
        stubs.always(500, {"error_code": "INTERNAL_ERROR", "message": "database is locked"}),
        stubs.always(500, b"<h1>Oops</h1>", "text/html"),
        stubs.always(404, {"type": "about:blank", "status": 404}),
        stubs.always(200, b"<h1>Welcome</h1>", "text/html"),
        stubs.always(200, {}),
    ],
    ids=["500-json", "500-html", "404-of-another-service", "html", "empty-object"],
)
def test_deliver_failing_or_wrong_server_keeps_the_result(settings, respond):
    with stubs.serving(respond) as address:
        notes = deliver(result(), at(settings, address))
    assert address in notes[0]
    assert "1 result(s) wait" in notes[1]


def test_deliver_forbidden_host_header_is_explained(settings, mlflow_address):
    with stubs.serving(stubs.relay(mlflow_address, host="host.minikube.internal:5000")) as address:
        notes = deliver(result(), at(settings, address))
    assert "403" in notes[0] and f"--allowed-hosts and {address.removeprefix('http://')}" in notes[0]
    assert "1 result(s) wait" in notes[1]


@pytest.mark.parametrize(("status", "name"), [(403, "AirTunes/760.20.1"), (404, "Werkzeug/3.1.9"), (403, "nginx")])
def test_deliver_another_program_on_the_port_is_named(settings, status, name):
    def respond(handler, _body):
        handler.server_version, handler.sys_version = name, ""
        stubs.start(handler, status, {"Content-Length": "0"})

    with stubs.serving(respond) as address:
        note = deliver(result(), at(settings, address))[0]
    assert f"{name}, not MLflow, answers at {address} with HTTP {status}" in note and "MLFLOW_PORT" in note
    assert ("AirPlay" in note) is name.startswith("AirTunes") and "--allowed-hosts" not in note


def test_deliver_deleted_experiment_is_explained(settings, mlflow_address):
    deliver(result(1), settings)
    client = MlflowClient(mlflow_address)
    client.delete_experiment(client.get_experiment_by_name(settings.mlflow_experiment_name).experiment_id)
    assert "was deleted in MLflow" in deliver(result(2), settings)[0]


@stubs.FINALISERS_MAY_LOSE_EXCEPTIONS
def test_deliver_silent_or_dripping_server_meets_the_timeout(settings):
    with socket.create_server(("127.0.0.1", 0)) as silent, stubs.dripping() as dripping:
        for address in (f"http://127.0.0.1:{silent.getsockname()[1]}", dripping):
            notes = deliver(result(), at(settings, address, tracking_timeout=0.5))
            assert "TRACKING_TIMEOUT=0.5" in notes[0] and "wait" in notes[1]


def test_deliver_waits_for_another_run_that_is_sending(settings):
    outbox = Outbox(settings.spool_dir)
    outbox.keep(result(1))
    with (outbox.folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        notes = deliver(result(2), settings.model_copy(update={"tracking_timeout": 0.3}))
        assert "2 result(s) wait" in notes[1]
    assert runs(settings) == []
    assert deliver(result(3), settings) == []
    assert accuracies(settings) == [0.1, 0.2, 0.3]


def test_deliver_unwritable_folder_still_sends_or_reports_loss(settings, tmp_path, nowhere):
    """Not even root can create a folder below a file."""
    (tmp_path / "file").write_text("")
    unwritable = settings.model_copy(update={"spool_dir": tmp_path / "file" / "spool"})
    (note,) = deliver(result(), unwritable)
    assert str(unwritable.spool_dir) in note
    assert accuracies(settings) == [0.1]
    with pytest.raises(LostError, match=r"cannot be written to.*cannot be reached"):
        deliver(result(), at(unwritable, nowhere))


def test_keep_leaves_defaults_out_for_an_older_monitor(settings):
    Outbox(settings.spool_dir).keep(result())
    (path,) = Outbox(settings.spool_dir).waiting()
    assert "classes" not in json.loads(path.read_text())


def test_deliver_full_disk_leaves_no_partial_file(settings, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        (note,) = deliver(result(), settings)
    assert "No space left on device" in note
    assert list(settings.spool_dir.iterdir()) == []
    assert accuracies(settings) == [0.1]

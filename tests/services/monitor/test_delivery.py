"""Results reach a real MLflow server once, in order and as they were, whatever happens on the way."""

import contextlib
import fcntl
import io
import json
import os
import socket
import time
import uuid

import pytest
from mlflow import MlflowClient

from services.monitor.delivery import LostError, deliver
from services.monitor.outbox import Spool
from services.monitor.result import Result
from services.monitor.settings import Settings
from tests import servers
from tests.services.monitor import stubs


@pytest.fixture
def settings(tmp_path, mlflow_address):
    """An experiment and a spool of this test's own."""
    name = f"monitor-{uuid.uuid4().hex}"
    return Settings(mlflow_tracking_uri=mlflow_address, mlflow_experiment_name=name, spool_dir=tmp_path / "spool")


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
    """The experiment's runs, in the order in which MLflow made them."""
    client = MlflowClient(settings.mlflow_tracking_uri)
    experiment = client.get_experiment_by_name(settings.mlflow_experiment_name)
    return client.search_runs([experiment.experiment_id], order_by=["start_time ASC"]) if experiment else []


def accuracies(settings):
    return [run.data.metrics["post_deploy_accuracy"] for run in runs(settings)]


def test_a_result_is_in_mlflow_as_it_was(settings):
    sent = result(problems=["First.", "Second."], healthy=False)
    assert deliver(sent, settings) == []
    (run,) = runs(settings)
    assert run.info.status == "FINISHED"
    assert (run.info.start_time, run.info.end_time) == (sent.started, sent.ended)
    assert run.data.metrics == sent.metrics
    history = MlflowClient(settings.mlflow_tracking_uri).get_metric_history(run.info.run_id, "post_deploy_accuracy")
    assert [m.timestamp for m in history] == [sent.ended]
    assert run.data.params == {"model_name": "stub", "model_version": "7"}
    assert run.data.tags["result_id"] == sent.result_id
    assert run.data.tags["healthy"] == "false"
    assert run.data.tags["mlflow.note.content"] == "First.\n\nSecond."
    assert Spool(settings.spool_dir).waiting() == []


def test_delivered_twice_is_there_once(settings):
    sent = result()
    assert deliver(sent, settings) == [] == deliver(sent, settings)
    assert accuracies(settings) == [0.1]


def test_results_wait_for_mlflow_and_go_out_once_in_order(settings, mlflow_address):
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
        assert deliver(result(3), down) == []
        assert accuracies(down) == [0.1, 0.2, 0.3]
        assert deliver(result(4), down) == []
        assert accuracies(down) == [0.1, 0.2, 0.3, 0.4]
    assert created == [result(n).started for n in (1, 2, 3, 4)]


# The requests of a first delivery: find the experiment, make it, look for the run, make the run, fill it, end it.
@pytest.mark.parametrize("request_number", range(1, 7))
def test_a_server_that_dies_after_it_took_a_request_gets_the_result_once(settings, mlflow_address, request_number):
    sent = result()
    with stubs.dying(mlflow_address, after=request_number) as address:
        notes = deliver(sent, at(settings, address))
    assert "cannot be reached" in notes[0] and "1 result(s) wait" in notes[1]
    assert deliver(result(2), settings) == []
    assert accuracies(settings) == [0.1, 0.2]
    assert all(r.info.status == "FINISHED" for r in runs(settings))
    assert all(r.data.params["model_version"] == "7" for r in runs(settings))


def test_a_request_that_failed_after_it_was_done_is_not_repeated(settings, mlflow_address):
    """MLflow's client repeats a 500 by default, also that of "create a run"."""

    def respond(handler, body):
        if handler.path.endswith("runs/create"):
            stubs.relay(mlflow_address)(_Unheard(handler), body)
            return stubs.answer(handler, 500, {"error_code": "INTERNAL_ERROR", "message": "lost my disk"})
        return stubs.relay(mlflow_address)(handler, body)

    with stubs.serving(respond) as address:
        assert "see the server's log" in deliver(result(1), at(settings, address))[0]
    assert deliver(result(2), settings) == []
    assert accuracies(settings) == [0.1, 0.2]


class _Unheard:
    """A request whose answer goes nowhere."""

    def __init__(self, handler):
        self.command, self.path, self.headers = handler.command, handler.path, handler.headers
        self.send_response = self.send_header = self.end_headers = lambda *_: None
        self.wfile = io.BytesIO()


def test_damaged_files_are_set_aside_and_named_and_do_not_block_the_rest(settings):
    spool = Spool(settings.spool_dir)
    spool.keep(result(2))
    for name, content in {"0-half.json": b'{"result_id": "a', "1-binary.json": b"\xff\0", "2-empty.json": b""}.items():
        (spool.folder / name).write_bytes(content)
    cut_off = spool.folder / "cut-off.tmp"
    cut_off.write_bytes(b"{")
    os.utime(cut_off, (1, 1))
    writing = spool.folder / "another-run-writes.tmp"
    writing.write_bytes(b"{")
    notes = deliver(result(3), settings)
    assert len(notes) == 4
    for name in ("0-half.json", "1-binary.json", "2-empty.json", "cut-off.tmp"):
        assert sum(name in note for note in notes) == 1
    assert (spool.folder / "0-half.json.damaged").read_bytes() == b'{"result_id": "a'
    assert writing.exists()
    assert accuracies(settings) == [0.2, 0.3]
    assert deliver(result(4), settings) == []


def test_a_result_that_mlflow_refuses_for_good_does_not_block_the_rest(settings):
    Spool(settings.spool_dir).keep(result(1, metrics={"not/allowed(": 1.0}))
    (note,) = deliver(result(2), settings)
    assert "refuses a result for good" in note and ".rejected" in note
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
def test_a_server_that_fails_or_is_none_leaves_the_result_waiting(settings, respond):
    with stubs.serving(respond) as address:
        notes = deliver(result(), at(settings, address))
    assert address in notes[0]
    assert "1 result(s) wait" in notes[1]


def test_a_host_that_mlflow_does_not_allow_is_explained(settings, mlflow_address):
    with stubs.serving(stubs.relay(mlflow_address, host="host.minikube.internal:5000")) as address:
        notes = deliver(result(), at(settings, address))
    assert "403" in notes[0] and f"--allowed-hosts and {address.removeprefix('http://')}" in notes[0]
    assert "1 result(s) wait" in notes[1]


def test_a_deleted_experiment_is_explained(settings, mlflow_address):
    deliver(result(1), settings)
    client = MlflowClient(mlflow_address)
    client.delete_experiment(client.get_experiment_by_name(settings.mlflow_experiment_name).experiment_id)
    notes = deliver(result(2), settings)
    assert "was deleted in MLflow: restore it" in notes[0]


def test_a_server_that_never_answers_and_one_that_drips_meet_the_time_limit(settings):
    with socket.create_server(("127.0.0.1", 0)) as silent, stubs.dripping() as dripping:
        for address in (f"http://127.0.0.1:{silent.getsockname()[1]}", dripping):
            notes = deliver(result(), at(settings, address, tracking_timeout=0.5))
            assert "TRACKING_TIMEOUT=0.5" in notes[0] and "wait" in notes[1]


def test_another_run_that_is_sending_is_waited_for(settings):
    spool = Spool(settings.spool_dir)
    spool.keep(result(1))
    with (spool.folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        notes = deliver(result(2), at(settings, settings.mlflow_tracking_uri, tracking_timeout=0.3))
        assert "2 result(s) wait" in notes[1]
    assert runs(settings) == []
    assert deliver(result(3), settings) == []
    assert accuracies(settings) == [0.1, 0.2, 0.3]


@pytest.fixture
def unwritable(tmp_path):
    """A spool folder that not even root can make: a file is in its way."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "spool"


def test_a_spool_that_cannot_be_written_does_not_stop_the_sending(settings, unwritable):
    (note,) = deliver(result(), at(settings, settings.mlflow_tracking_uri, spool_dir=unwritable))
    assert "cannot be written to" in note and str(unwritable) in note
    assert accuracies(settings) == [0.1]


def test_neither_spool_nor_mlflow_is_a_lost_result(settings, unwritable):
    nowhere = f"http://127.0.0.1:{servers.free_port()}"
    with pytest.raises(LostError, match=r"cannot be written to.*cannot be reached"):
        deliver(result(), at(settings, nowhere, spool_dir=unwritable))


def test_a_full_disk_leaves_no_half_file(settings, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        (note,) = deliver(result(), settings)
    assert "No space left on device" in note
    assert list(settings.spool_dir.glob("*.json")) == list(settings.spool_dir.glob("*.tmp")) == []
    assert accuracies(settings) == [0.1]


def test_the_time_limit_gives_the_timer_back_to_its_owner():
    import signal

    from services.monitor.deadline import TimeUp, time_limit

    rung = []
    previous = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    outer = signal.setitimer(signal.ITIMER_REAL, 0.4)
    try:
        with contextlib.suppress(TimeUp), time_limit(0.05):
            time.sleep(5)
        time.sleep(0.6)
        assert rung == [1]
    finally:
        signal.signal(signal.SIGALRM, previous)
        signal.setitimer(signal.ITIMER_REAL, *outer)

"""/metrics: exact over two workers, bounded in series, and not lost with a worker."""

import concurrent.futures
import os
import signal
import struct
import time

import pytest
import requests
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from services.inference import telemetry as metrics
from tests import drawn_images as pictures
from tests.drawn_images import BLUE, GREEN, RED
from tests.services.inference.serving import service, start_error


@pytest.fixture
def fresh(bundle, tmp_path):
    """A service that nobody else counts on."""
    with service(tmp_path, MODEL_DIR=bundle) as running:
        running.wait_for_workers()
        yield running


def send_many(running, count):
    """Send pictures over many new connections, so that both workers get some."""
    payloads = [pictures.plain(RED), pictures.plain(GREEN), b"not a picture"]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        responses = list(pool.map(lambda number: running.predict(payloads[number % 3]), range(count)))
    assert {response.status_code for response in responses} == {200, 415}
    answered_by = {line["process"] for line in running.lines() if line.get("endpoint") == "/predict"}
    assert len(answered_by) >= 2, "this test means nothing if one worker did it all"


def assert_counts(running, each):
    assert running.metric("request_count_total", endpoint="/predict", method="POST", status="200") == 2 * each
    assert running.metric("request_count_total", endpoint="/predict", method="POST", status="415") == each
    assert running.metric("flask_http_request_duration_seconds_count", endpoint="/predict") == 3 * each
    assert running.metric("predictions_total", label="red") == each
    assert running.metric("predictions_total", label="green") == each
    assert running.metric("predictions_total", label="blue") == 0
    assert running.metric("prediction_confidence_count", label="red") == each
    assert running.metric("prediction_confidence_bucket", label="red", le="0.9") == 0
    assert running.metric("prediction_confidence_bucket", label="red", le="1.0") == each


def test_counts_are_exact_over_two_workers_and_outlive_one(fresh):
    send_many(fresh, 150)
    assert_counts(fresh, 50)
    killed = fresh.workers()[0]
    os.kill(killed, signal.SIGKILL)
    while killed in fresh.workers():
        time.sleep(0.05)
    fresh.wait_for_workers()
    assert_counts(fresh, 50)
    send_many(fresh, 150)
    assert_counts(fresh, 100)
    assert fresh.metric("predictions_in_flight") == 0
    assert fresh.metric("model_info", name="colours", version="1") == 1


def test_several_pictures_count_one_request_and_each_picture(fresh):
    fresh.predict(pictures.plain(RED), pictures.plain(BLUE), pictures.plain(BLUE))
    assert fresh.metric("request_count_total", endpoint="/predict") == 1
    assert fresh.metric("predictions_total", label="red") == 1
    assert fresh.metric("predictions_total", label="blue") == 2


def test_strangers_cannot_make_up_series(fresh):
    def stray(number):
        for method, path in (
            ("GET", f"/made/up/{number}"),
            ("POST", f"/static/{number}"),
            (f"MADE-UP-{number}", "/health"),
        ):
            requests.request(method, fresh.address + path, timeout=30)

    stray(0)
    fresh.get("/metrics")
    before = fresh.samples().keys()
    for number in range(1, 30):
        stray(number)
    assert fresh.samples().keys() == before
    assert fresh.metric("request_count_total", endpoint="other", method="GET", status="404") == 30
    assert fresh.metric("request_count_total", endpoint="other", method="POST", status="405") == 30
    assert fresh.metric("request_count_total", endpoint="/health", method="OTHER", status="405") == 30


def test_series_start_at_zero_and_none_carries_a_process_id(fresh):
    samples = fresh.samples()
    for label in ("red", "green", "blue"):
        assert samples[("predictions_total", frozenset({("label", label)}))] == 0
    assert samples[("requests_shed_total", frozenset())] == 0
    for status in ("200", "500", "503"):
        labels = {"endpoint": "/predict", "method": "POST", "status": status}
        assert samples[("request_count_total", frozenset(labels.items()))] == 0
    assert not [key for key in samples if "pid" in dict(key[1])]


def test_a_given_folder_is_emptied_of_old_counts_and_of_nothing_else(bundle, tmp_path):
    folder = tmp_path / "metrics"
    for _ in range(2):
        with service(tmp_path, MODEL_DIR=bundle, PROMETHEUS_MULTIPROC_DIR=folder) as running:
            (folder / "mine.txt").write_text("keep")
            running.predict(pictures.plain(RED))
            assert running.metric("predictions_total", label="red") == 1
    assert (folder / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize("name", ["mlflow.db", "counter_x.db"])
def test_a_folder_with_a_database_of_others_is_refused_and_left_as_it_is(tmp_path, name):
    folder = tmp_path / "metrics"
    folder.mkdir()
    for file in (name, "counter_1.db"):
        (folder / file).write_text("keep")
    status, said = start_error(tmp_path, PROMETHEUS_MULTIPROC_DIR=str(folder))
    assert status not in (0, None)
    assert said.startswith("PROMETHEUS_MULTIPROC_DIR is ")
    assert said.endswith(f"this one holds {name}.\n")
    assert [(folder / file).read_text() for file in (name, "counter_1.db")] == ["keep", "keep"]


def test_an_empty_folder_variable_is_not_the_current_folder(bundle, tmp_path):
    made = tmp_path / "tmp"
    made.mkdir()
    with service(tmp_path, MODEL_DIR=bundle, PROMETHEUS_MULTIPROC_DIR="", TMPDIR=made) as running:
        running.wait_for_workers()
        assert list(made.glob("inference-metrics-*/counter_*.db"))


def test_counts_and_their_folder_survive_a_reload_and_no_folder_is_left(bundle, tmp_path):
    made = tmp_path / "tmp"
    made.mkdir()
    with service(tmp_path, MODEL_DIR=bundle, TMPDIR=made) as running:
        running.wait_for_workers()
        running.predict(pictures.plain(RED))
        before = set(running.workers())
        running.process.send_signal(signal.SIGHUP)
        while before & set(running.workers()):
            time.sleep(0.05)
        running.wait_for_workers()
        assert running.metric("predictions_total", label="red") == 1
    assert running.process.returncode == 0
    assert not list(made.iterdir())


def test_a_scrape_waits_for_a_worker_that_is_just_starting(monkeypatch, tmp_path):
    half_made = tmp_path / "counter_99999.db"
    half_made.touch()
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            half_made.write_bytes(bytes(1 << 16))

    monkeypatch.setattr(metrics.time, "sleep", pause)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(tmp_path))
    text = metrics.collect(lambda accept: (generate_latest(registry), accept), "text/plain")
    assert text == (b"", "text/plain")
    assert pauses == list(metrics.PAUSES[:2])


def test_a_file_that_stays_without_a_size_is_an_error(monkeypatch, tmp_path):
    (tmp_path / "counter_99999.db").touch()
    monkeypatch.setattr(metrics.time, "sleep", lambda seconds: None)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(tmp_path))
    with pytest.raises(struct.error):
        metrics.collect(lambda accept: (generate_latest(registry), accept), None)

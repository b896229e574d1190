"""The clock of the machine is put back by an hour while the service runs and while the monitor checks it."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import drawn_images as pictures
from tests import servers
from tests.services.inference.serving import service

pytestmark = pytest.mark.faults

HOUR = 3600


@pytest.fixture
def clock(tmp_path):
    """A file with the offset of the clock, which is read anew at each look; and the environment to be told so."""
    file = tmp_path / "clock"
    file.write_text("0")
    return file, {"CLOCK_OFFSET": str(file), "PYTHONPATH": str(Path(__file__).with_name("clock"))}


def put_back(file):
    new = file.with_name("new")
    new.write_text(str(-HOUR))
    new.replace(file)


def seconds(line):
    return time.mktime(time.strptime(line["time"][:19], "%Y-%m-%dT%H:%M:%S"))


def test_the_service_goes_on_and_no_duration_is_negative(bundle, tmp_path, clock):
    file, environment = clock
    with service(tmp_path, MODEL_DIR=bundle, UPLOAD_TIMEOUT=2, **environment) as running:
        running.wait_for_workers()
        picture = pictures.plain()
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\n"
        assert running.send(picture).status_code == 200
        with running.connect(head) as stalled, running.connect(b"GET /health HTTP/1.1\r\n"):
            while running.metric("predictions_in_flight") != 1:
                time.sleep(0.05)
            put_back(file)
            for _ in range(20):
                assert running.send(picture).status_code == 200
            assert stalled.recv(100).startswith(b"HTTP/1.1 408"), "an upload that began before the step has no end"
        # A worker that hangs is noticed, one that does not is left alone, and a new one comes up.
        killed, other = running.workers()
        os.kill(killed, signal.SIGKILL)
        while killed in running.workers() or len(running.loaded()) != 2:
            time.sleep(0.1)
        assert other in running.workers()
        for _ in range(20):
            assert running.send(picture).status_code == 200
        lines = running.lines()
        samples = running.samples()
    assert running.process.returncode == 0
    stamps = [seconds(line) for line in lines]
    assert min(b - a for a, b in itertools.pairwise(stamps)) < -HOUR + 60, "the clock was not put back"
    durations = [line["duration_ms"] for line in lines if "duration_ms" in line]
    assert len(durations) > 40 and min(durations) >= 0 and max(durations) < 60_000
    sums = {name: value for (name, _), value in samples.items() if "duration_seconds_sum" in name}
    assert sums and min(sums.values()) >= 0 and max(sums.values()) < 60


def test_a_check_during_which_the_clock_is_put_back_lasts_no_negative_time(bundle, tmp_path, clock):
    file, environment = clock
    with service(tmp_path, MODEL_DIR=bundle) as running:
        labelled = tmp_path / "labelled"
        for number in range(150):
            (labelled / "red").mkdir(parents=True, exist_ok=True)
            (labelled / "red" / f"{number}.jpg").write_bytes(pictures.noise(size=(640, 480), seed=number))
        settings = {
            "PREDICT_URL": running.address,
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{servers.free_port()}",
            "LABELLED_IMAGES": str(labelled),
            "SPOOL_DIR": str(tmp_path / "spool"),
        }
        command = [sys.executable, "-m", "services.monitor"]
        with subprocess.Popen(
            command,
            cwd=servers.ROOT,
            env=servers.environment() | environment | settings,
            stdout=subprocess.PIPE,
        ) as monitor:
            while running.metric("request_count_total", endpoint="/predict", status="200") < 5:
                time.sleep(0.02)
            put_back(file)
            out, _ = monitor.communicate(timeout=60)
    assert monitor.returncode == 0
    result = json.loads(out)
    assert result["metrics"]["post_deploy_pictures"] == 150 and not result["metrics"]["post_deploy_failures"]
    assert 0 < result["metrics"]["post_deploy_latency_p50_ms"] < 60_000
    assert 0 <= result["ended"] - result["started"] < 60_000, "its run in MLflow would end before it began"
    (kept,) = (tmp_path / "spool").glob("*.json")
    assert json.loads(kept.read_text())["result_id"] == result["result_id"]

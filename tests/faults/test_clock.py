"""The clock is put back by an hour while the service runs, and while the monitor checks it."""

import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import drawn_images, servers
from tests.faults.clients import UPLOAD, accepted, wait_until
from tests.faults.test_reload import kill_worker
from tests.services.inference.serving import service

pytestmark = pytest.mark.faults

HOUR = 3600


@pytest.fixture
def clock(tmp_path):
    """A file with the offset of the clock, and the environment of a process that uses it."""
    file = tmp_path / "clock"
    file.write_text("0")
    return file, {"CLOCK_OFFSET": str(file), "PYTHONPATH": str(Path(__file__).with_name("clock"))}


def put_back(file):
    new = file.with_name("new")
    new.write_text(str(-HOUR))
    new.replace(file)


def seconds(line):
    return time.mktime(time.strptime(line["time"][:19], "%Y-%m-%dT%H:%M:%S"))


def test_service_goes_on_and_no_duration_is_negative(bundle, tmp_path, clock):
    file, environment = clock
    with service(tmp_path, MODEL_DIR=bundle, UPLOAD_TIMEOUT=2, **environment) as running:
        running.wait_for_workers()
        image = drawn_images.plain()
        assert running.send(image).status_code == 200
        with running.connect(UPLOAD % 1000) as stalled, running.connect(b"GET /health HTTP/1.1\r\n") as headless:
            wait_until(lambda: accepted(running) >= 2, running)
            put_back(file)
            assert running.send(image).status_code == 200
            assert stalled.recv(100).startswith(b"HTTP/1.1 408")
            assert headless.recv(100) == b""
        kill_worker(running)
        for _ in range(20):
            assert running.send(image).status_code == 200
        lines = running.lines()
        samples = running.samples()
    assert running.process.returncode == 0
    stamps = [seconds(line) for line in lines]
    assert min(b - a for a, b in itertools.pairwise(stamps)) < -HOUR + 60, "the clock was not put back"
    durations = [line["duration_ms"] for line in lines if "duration_ms" in line]
    assert len(durations) > 20 and min(durations) >= 0 and max(durations) < 60_000
    sums = {name: value for (name, _), value in samples.items() if "duration_seconds_sum" in name}
    assert sums and min(sums.values()) >= 0 and max(sums.values()) < 60


def test_check_during_which_the_clock_is_put_back_has_no_negative_duration(bundle, tmp_path, clock):
    file, environment = clock
    labelled = tmp_path / "labelled" / "red"
    labelled.mkdir(parents=True)
    for number in range(150):
        (labelled / f"{number}.jpg").write_bytes(drawn_images.noise(size=(640, 480), seed=number))
    with service(tmp_path, MODEL_DIR=bundle) as running:
        settings = {
            "PREDICT_URL": running.address,
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{servers.free_port()}",
            "LABELLED_IMAGES": str(labelled.parent),
            "SPOOL_DIR": str(tmp_path / "spool"),
        }
        environment = servers.environment() | environment | settings
        command = [sys.executable, "-m", "services.monitor"]
        with subprocess.Popen(command, cwd=servers.ROOT, env=environment, stdout=subprocess.PIPE) as monitor:
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

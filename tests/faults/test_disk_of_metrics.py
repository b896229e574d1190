"""The disk with the metrics folder is full, or turns read-only: predictions go on, and the log says what is lost."""

import os
import signal
import time
from functools import partial

import pytest

from tests import drawn_images as pictures
from tests.faults import disk
from tests.services.inference.serving import service

pytestmark = pytest.mark.faults

BREAK = {"full": (disk.fill, "No space left on device"), "read-only": (disk.make_read_only, "Read-only file system")}


@pytest.fixture
def running(bundle, tmp_path):
    """A service whose metrics folder is a disk of 2 MB."""
    folder = tmp_path / "metrics"
    around = partial(disk.on_small_disk, folder, "2m")
    with service(tmp_path, around, MODEL_DIR=bundle, PROMETHEUS_MULTIPROC_DIR=folder) as running:
        running.wait_for_workers()
        yield running


def replace_workers(running, number):
    before = set(running.workers())
    if number == signal.SIGHUP:
        running.process.send_signal(number)
    else:
        for pid in before:
            os.kill(pid, number)
    deadline = time.monotonic() + 30
    while len(running.loaded() - before) != 2:
        assert running.process.poll() is None and time.monotonic() < deadline, running.log.read_text()
        time.sleep(0.1)


@pytest.mark.parametrize("way", BREAK)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_new_workers_serve_without_a_place_for_their_counts(running, tmp_path, way, number):
    breaks, words = BREAK[way]
    for _ in range(10):
        assert running.predict(pictures.plain()).status_code == 200
    breaks(running.process.pid, tmp_path / "metrics")
    replace_workers(running, number)
    for number in range(400):
        # Series that no worker has had before, more than fit into the first block of a file.
        label = pictures.plain(pictures.BLUE if number % 2 else pictures.GREEN)
        assert running.predict(label, headers={"X-Request-ID": str(number)}).status_code == 200
    assert running.metric("predictions_total", label="red") == 10
    assert running.get("/ready").status_code == 200
    said = [line["message"] for line in running.lines_at("ERROR") if words in line["message"]]
    assert said and all(str(tmp_path / "metrics") in message for message in said), running.log.read_text()
    assert not [line for line in running.lines() if "SIGBUS" in line["message"] or "exc_info" in line]

"""The load generator against the real service."""

import io
import shutil
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import requests as http
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import photos
from benchmarks.load import generator, payload
from benchmarks.load.generator import closed_loop, open_loop
from benchmarks.load.result import LOST
from tests import servers

SECONDS = 0.5
IMAGES = [photos.draw(seed, (120, 90)) for seed in range(2)]


def counted(url: str) -> Counter[str]:
    """Count predictions by status, and classified images, as the service does."""
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(http.get(f"{url}/metrics", timeout=10).text):
        for sample in family.samples:
            if sample.name == "request_count_total" and sample.labels["endpoint"] == "/predict":
                found[sample.labels["status"]] += int(sample.value)
            elif sample.name == "predictions_total":
                found["images"] += int(sample.value)
    return found


@pytest.mark.parametrize(("per_request", "multipart"), [(1, False), (1, True), (3, True)])
def test_closed_loop_counts_what_the_service_counts(service, per_request, multipart):
    requests = payload.requests(IMAGES, per_request, multipart=multipart)
    before = counted(service.url)
    result = closed_loop(service.url, requests, connections=4, seconds=SECONDS)
    answered = result.statuses[200]
    assert answered > 4 and result.statuses == {200: answered}
    assert counted(service.url) - before == {"200": answered, "images": answered * per_request}
    assert result.rate == answered / result.seconds and result.seconds >= SECONDS
    assert 0 < result.percentile(50) <= result.percentile(99) <= 1000 * result.seconds
    assert result.cpu_seconds > 0


def test_closed_loop_sends_requests_in_turn(service):
    result = closed_loop(service.url, payload.requests([IMAGES[0], b"no image"]), connections=1, seconds=SECONDS)
    assert result.statuses.keys() == {200, 415}
    assert abs(result.statuses[200] - result.statuses[415]) <= 1


def test_closed_loop_keeps_connections(service, monkeypatch):
    used = []
    send = generator.Connection.send
    monkeypatch.setattr(generator.Connection, "send", lambda self, *given: (used.append(self), send(self, *given)))
    closed_loop(service.url, payload.requests(IMAGES), connections=3, seconds=SECONDS)
    assert len(used) > 3 and len(set(used)) == 3


def test_open_loop_keeps_the_rate_and_waits_for_all_responses(service):
    before = counted(service.url)
    result = open_loop(service.url, payload.requests(IMAGES), rate=40, seconds=1)
    assert result.statuses == {200: 40}
    assert counted(service.url) - before == {"200": 40, "images": 40}
    begun = sorted(sample.begun for sample in result.samples)
    assert all(time >= i / 40 for i, time in enumerate(begun)), "sent before it was due"


def test_open_loop_without_a_free_connection_counts_the_wait(service):
    # All are due at once, and one connection takes them one after the other.
    result = open_loop(service.url, payload.requests(IMAGES), rate=20_000, seconds=0.001, connections=1)
    times = [sample.seconds for sample in sorted(result.samples)]
    assert len(times) == 20 and times == sorted(times)


def test_refused_connection_is_lost():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        result = closed_loop(url, payload.requests(IMAGES), connections=1, seconds=0.05)
    assert result.statuses.keys() == {LOST} and result.rate == 0


def test_command_prints_rate_and_statuses(service, tmp_path):
    (tmp_path / "a.jpg").write_bytes(IMAGES[0])
    command = [sys.executable, "-m", "benchmarks.load", f"{service.url}/predict", "--photos", str(tmp_path)]
    command += ["--seconds", "0.3", "--warm-up", "0.1", "--images", "2"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=servers.ROOT)
    assert result.returncode == 0, result.stderr
    assert "requests/s" in result.stdout and "\n200: " in result.stdout


def test_several_images_without_form_are_refused():
    with pytest.raises(ValueError, match="2 images do not fit in one body"):
        payload.request([b"a", b"b"])


def test_photos_are_read_from_folder_and_archive(tmp_path):
    folder = tmp_path / "photos" / "Cat"
    folder.mkdir(parents=True)
    for number in range(5):
        (folder / f"{number}.jpg").write_bytes(bytes([number]))
    (folder / "notes.txt").write_text("no image")
    archive = Path(shutil.make_archive(str(tmp_path / "photos"), "zip", tmp_path / "photos"))
    for source in (tmp_path / "photos", archive):
        assert photos.read(source) == [bytes([number]) for number in range(5)]
        assert photos.read(source, most=2) == [b"\0", b"\2"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no image"):
        photos.read(tmp_path / "empty")


def test_scaled_photo_has_the_size():
    (large,) = photos.scale([photos.draw(0, (80, 40))], 0.5)
    assert Image.open(io.BytesIO(large)).size == (1000, 500)

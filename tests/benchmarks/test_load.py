"""The load generator against a real gunicorn: what it sends arrives, and what comes back is counted."""

import io
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests as http
from PIL import Image

from benchmarks import load, payload, photos
from benchmarks.connection import LOST
from tests import bundles, servers
from tests import drawn_images as pictures

SECONDS = 0.5


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[str]:
    """The real service with the tiny model."""
    folder = tmp_path_factory.mktemp("service")
    port = servers.free_port()
    env = {
        "MODEL_DIR": str(bundles.write(folder / "bundle")),
        "PORT": str(port),
        "WORKERS": "1",
    }
    config = str(servers.ROOT / "services/inference/gunicorn.conf.py")
    command = [sys.executable, "-m", "gunicorn", "-c", config, "services.inference.app:create_app()"]
    log = folder / "log"
    with servers.running(command, log, env) as process:
        servers.wait_for(f"http://127.0.0.1:{port}/ready", process, log)
        yield f"http://127.0.0.1:{port}"


def counted(url: str) -> dict[str, int]:
    """How many predictions the service itself has counted, by status and of pictures in all."""
    found: dict[str, int] = {}
    for line in http.get(f"{url}/metrics", timeout=10).text.splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith('request_count_total{endpoint="/predict"'):
            status = name.rpartition('status="')[2].rstrip('"}')
            found[status] = int(float(value))
        elif name.startswith("predictions_total"):
            found["pictures"] = found.get("pictures", 0) + int(float(value))
    return found


def grown(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}


@pytest.mark.parametrize(("per_request", "multipart"), [(1, False), (1, True), (3, True)])
def test_closed_loop_counts_what_the_service_counts(service, per_request, multipart):
    requests = payload.requests([pictures.plain(), pictures.noise()], per_request, multipart=multipart)
    before = counted(service)
    result = load.closed(service, requests, connections=4, seconds=SECONDS)
    answered = result.statuses[200]
    assert answered > 4
    assert result.statuses == {200: answered}
    assert grown(before, counted(service)) == {"200": answered, "pictures": answered * per_request}
    assert result.rate == answered / result.seconds
    assert result.seconds >= SECONDS
    assert 0 < result.percentile(50) <= result.percentile(99) <= 1000 * result.seconds
    assert result.processor_seconds > 0


def test_requests_go_round_the_pictures(service):
    requests = payload.requests([pictures.plain(), b"no picture"])
    result = load.closed(service, requests, connections=1, seconds=SECONDS)
    assert result.statuses.keys() == {200, 415}
    assert abs(result.statuses[200] - result.statuses[415]) <= 1


def test_a_connection_is_kept(service, monkeypatch):
    made = []
    connect = load.Connection.ask
    monkeypatch.setattr(load.Connection, "ask", lambda self, *given: (made.append(self), connect(self, *given)))
    load.closed(service, payload.requests([pictures.plain()]), connections=3, seconds=SECONDS)
    assert len(made) > 3 and len(set(made)) == 3


def test_open_loop_asks_as_often_as_told_and_waits_for_all_answers(service):
    before = counted(service)
    result = load.at_rate(service, payload.requests([pictures.plain()]), rate=40, seconds=1)
    assert result.statuses == {200: 40}
    assert grown(before, counted(service)) == {"200": 40, "pictures": 40}
    begun = sorted(sample.begun for sample in result.samples)
    assert begun == pytest.approx([i / 40 for i in range(40)], abs=0.02)


def test_open_loop_counts_the_time_that_a_request_waits_for_a_connection(service):
    # All are due at once, and one connection takes them one after the other.
    requests = payload.requests([pictures.noise(size=(900, 900))])
    result = load.at_rate(service, requests, rate=20_000, seconds=0.001, connections=1)
    times = [sample.seconds for sample in sorted(result.samples)]
    assert len(times) == 20
    assert times == sorted(times)


def test_a_closed_connection_is_an_answer_that_was_lost():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # and does not listen: every connection is refused
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        result = load.closed(url, payload.requests([pictures.plain()]), connections=1, seconds=0.05)
    assert result.statuses.keys() == {LOST}
    assert result.rate == 0


def test_command_line_prints_counts(service, tmp_path):
    (tmp_path / "a.jpg").write_bytes(pictures.plain())
    command = [sys.executable, "-m", "benchmarks.load", f"{service}/predict", "--photos", str(tmp_path)]
    command += ["--seconds", "0.3", "--warm-up", "0.1", "--pictures", "2"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=servers.ROOT)
    assert result.returncode == 0, result.stderr
    assert "requests/s" in result.stdout and "\n200: " in result.stdout


def test_several_pictures_need_a_form():
    with pytest.raises(ValueError, match="2 pictures do not fit in one body"):
        payload.request([b"a", b"b"])


def test_photos_are_read_from_folders_and_archives(tmp_path):
    folder = tmp_path / "photos" / "Cat"
    folder.mkdir(parents=True)
    for number in range(5):
        (folder / f"{number}.jpg").write_bytes(bytes([number]))
    (folder / "notes.txt").write_text("not a picture")
    archive = Path(shutil.make_archive(str(tmp_path / "photos"), "zip", tmp_path / "photos"))
    for source in (tmp_path / "photos", archive):
        assert photos.read(source) == [bytes([number]) for number in range(5)]
        assert photos.read(source, most=2) == [b"\0", b"\2"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="there is no picture in it"):
        photos.read(tmp_path / "empty")


def test_enlarged_photos_have_the_size_that_was_asked_for():
    (large,) = photos.enlarge([photos.draw(0, (80, 40))], 0.5)
    width, height = Image.open(io.BytesIO(large)).size
    assert (width, height) == (1000, 500)

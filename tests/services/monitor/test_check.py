"""What the check makes of a service's answers and failures."""

import os
import socket
import struct
import tempfile
import zlib
from pathlib import Path

import pytest
from mlflow import MlflowClient

from services.monitor import check
from services.monitor import test_images as pictures
from services.monitor.settings import Settings
from tests import servers
from tests.services.monitor import stubs


def settings(address, **changes):
    return Settings.model_validate({"predict_url": address} | changes)


@pytest.fixture
def labelled(tmp_path):
    """Six pictures in both layouts. The stub looks for the first byte of the content to choose its answer."""
    folder = tmp_path / "labelled"
    for name in ("Cat/1.jpg", "Cat/2.JPG", "cat__3.png", "dog/1.jpg", "dog__2.jpg", "dog__3.webp"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"this is a " + path.relative_to(folder).as_posix().encode())
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "cat__4.jpg").write_bytes(b"hidden")
    (folder / "notes.txt").write_bytes(b"no picture")
    (folder / "no-label.jpg").write_bytes(b"no label")
    return folder


def by_content(wrong=(), broken=(), version="7"):
    def respond(handler, body):
        name = body.split(b"this is a ")[1].split(b"\r\n")[0].decode().lower()
        if name in broken:
            return stubs.answer(handler, 422, {"detail": "The picture is damaged."}, "application/problem+json")
        label = "dog" if ("dog" in name) != (name in wrong) else "cat"
        return stubs.answer(handler, 200, stubs.ANSWER | {"label": label})

    return respond


def test_accuracy_recall_and_model_come_from_the_answers(labelled):
    with stubs.serving(by_content(wrong={"cat/1.jpg"})) as address:
        result = check.run(settings(address, labelled_images=labelled))
    metrics = result.metrics
    assert metrics["post_deploy_accuracy"] == pytest.approx(5 / 6)
    assert metrics["post_deploy_recall_cat"] == pytest.approx(2 / 3)
    assert metrics["post_deploy_recall_dog"] == 1
    assert metrics["post_deploy_pictures"] == 6
    assert metrics["post_deploy_failures"] == 0
    assert 0 < metrics["post_deploy_latency_p50_ms"] <= metrics["post_deploy_latency_p95_ms"]
    assert (result.model_name, result.model_version) == ("stub", "7")
    assert "post_deploy_predict_success" not in metrics
    assert result.healthy and not result.problems
    assert result.started <= result.ended


def test_a_picture_without_an_answer_is_a_failure_and_not_correct(labelled):
    with stubs.serving(by_content(broken={"dog__2.jpg"})) as address:
        result = check.run(settings(address, labelled_images=labelled))
    assert result.metrics["post_deploy_failures"] == 1
    assert result.metrics["post_deploy_accuracy"] == pytest.approx(5 / 6)
    assert not result.healthy
    assert result.problems == ["1 of 6 not answered: HTTP 422: The picture is damaged. (dog__2.jpg)."]


@pytest.mark.parametrize(("least", "healthy"), [(0.8, True), (0.9, False)])
def test_min_accuracy_decides_health(labelled, least, healthy):
    with stubs.serving(by_content(wrong={"cat/1.jpg"})) as address:
        result = check.run(settings(address, labelled_images=labelled, min_accuracy=least))
    assert result.healthy is healthy
    assert any("MIN_ACCURACY=0.9" in p for p in result.problems) is not healthy


def test_labels_that_the_model_does_not_know_are_named(labelled):
    (labelled / "cow__1.jpg").write_bytes(b"this is a cat")
    with stubs.serving(by_content()) as address:
        result = check.run(settings(address, labelled_images=labelled))
    assert result.metrics["post_deploy_recall_cow"] == 0
    assert any("labelled cow" in p for p in result.problems)


def test_check_pictures_picks_from_every_class(labelled):
    for i in range(40):
        (labelled / f"dog__{i + 10}.jpg").write_bytes(b"this is a dog")
    found = pictures.labelled(labelled, 8)
    assert len(found) == 8 and found == pictures.labelled(labelled, 8)
    assert {p.label.lower() for p in found} == {"cat", "dog"}


def test_without_labelled_pictures_a_drawn_one_is_sent(tmp_path):
    received = []

    def respond(handler, body):
        received.append(body)
        stubs.answer(handler, 200, stubs.ANSWER)

    with stubs.serving(respond) as address:
        result = check.run(settings(address))
        # What Kubernetes mounts where an optional ConfigMap is not there.
        (tmp_path / "..data").mkdir()
        empty = check.run(settings(address, labelled_images=tmp_path))
    assert result.metrics["post_deploy_predict_success"] == 1
    assert result.metrics["post_deploy_latency_p50_ms"] > 0
    assert "post_deploy_accuracy" not in result.metrics
    assert pictures.drawn() in received[0] and b'name="file"' in received[0]
    assert result.healthy and empty.healthy
    assert empty.metrics["post_deploy_predict_success"] == 1 and not empty.problems


def test_a_single_outer_folder_is_gone_through(labelled):
    outer = labelled.parent / "outer"
    outer.mkdir()
    (outer / "readme.txt").write_text("about the pictures")
    labelled.rename(outer / "PetImages")
    found = {(p.label, p.path.name) for p in pictures.labelled(outer, 200)}
    assert {("Cat", "1.jpg"), ("Cat", "2.JPG"), ("dog", "1.jpg"), ("cat", "cat__3.png")} <= found and len(found) == 6


@pytest.mark.parametrize("name", ["notes.txt", "unlabelled.jpg", "cat/notes.txt", "outer/cat/notes.txt"])
def test_a_folder_without_labelled_pictures_is_not_healthy(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"this is a cat")
    with stubs.serving(stubs.always(200, stubs.ANSWER)) as address:
        result = check.run(settings(address, labelled_images=tmp_path))
    assert not result.healthy
    assert "no labelled picture" in result.problems[0] and str(tmp_path) in result.problems[0]
    assert result.metrics["post_deploy_predict_success"] == 1


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_class_folder_that_may_not_be_read_is_named(mode):
    # Root may read everything, and pytest's own folders are for their owner alone.
    with tempfile.TemporaryDirectory() as name, stubs.serving(stubs.always(200, stubs.ANSWER)) as address:
        closed = Path(name) / "cat"
        closed.mkdir()
        (closed / "1.jpg").write_bytes(b"this is a cat")
        closed.chmod(mode)
        Path(name).chmod(0o755)
        user = os.geteuid()
        try:
            os.seteuid(user or 65534)
            result = check.run(settings(address, labelled_images=Path(name)))
        finally:
            os.seteuid(user)
            closed.chmod(0o755)
    assert not result.healthy
    assert str(closed) in result.problems[0]


def test_names_that_are_not_text_can_be_printed_and_kept(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    try:
        folder.mkdir()
    except OSError:
        pytest.xfail("this file system takes text only")
    (folder / os.fsdecode(b"c\xe4t__\xfc.jpg")).write_bytes(b"this is a cat")
    with stubs.serving(stubs.always(422, {"detail": "No."})) as address:
        failed = check.run(settings(address, labelled_images=folder))
    with stubs.serving(stubs.always(200, stubs.ANSWER)) as address:
        unknown = check.run(settings(address, labelled_images=folder))
        (folder / os.fsdecode(b"c\xe4t__\xfc.jpg")).rename(folder / "notes.txt")
        useless = check.run(settings(address, labelled_images=folder))
    assert "(c?t__?.jpg)" in failed.model_dump_json()
    assert "labelled c?t" in unknown.model_dump_json()
    assert "/? has no labelled picture" in useless.model_dump_json()


def test_every_class_has_a_recall_whose_name_mlflow_takes(tmp_path, mlflow_address):
    labels = ("c", "c#", "c+", "x" * 240 + "1", "x" * 240 + "2")
    for label in labels:
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.jpg").write_bytes(b"this is a cat")
    with stubs.serving(stubs.always(200, stubs.ANSWER)) as address:
        metrics = check.run(settings(address, labelled_images=tmp_path)).metrics
    names = [name for name in metrics if name.startswith("post_deploy_recall_")]
    assert len(names) == len(labels) and "post_deploy_recall_c" in names
    client = MlflowClient(mlflow_address)
    run = client.create_run("0").info.run_id
    for name in names:
        client.log_metric(run, name, metrics[name])
    assert set(client.get_run(run).data.metrics) == set(names)


def test_the_drawn_picture_is_a_png_that_an_imaging_library_reads():
    from bundle.preprocess import decode

    pixels = decode(pictures.drawn(64), 64, "stretch")
    assert pixels[0, 0].tolist() == [0, 0, 128] and pixels[5, 9].tolist() == [36, 20, 128]
    ihdr = pictures.drawn()[8:33]
    assert struct.unpack(">I", ihdr[-4:])[0] == zlib.crc32(ihdr[4:-4])


@pytest.mark.parametrize(
    ("respond", "reason"),
    [
        (stubs.always(500, b"<h1>Oops</h1>", "text/html"), "HTTP 500 "),
        (stubs.always(503, {"detail": "No model is loaded."}, "application/problem+json"), "503: No model is loaded."),
        (stubs.always(503, ["busy"]), "HTTP 503 "),
        (stubs.always(200, b"<h1>Welcome</h1>", "text/html"), "not with a prediction"),
        (stubs.always(200, {"label": "cat"}), "not with a prediction"),
        (lambda handler, _: handler.connection.shutdown(socket.SHUT_RDWR), "cannot be reached"),
        (lambda handler, _: handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), "broke off"),
    ],
    ids=["500", "503", "503-list", "html", "half-an-answer", "dropped", "cut-off"],
)
def test_a_service_that_fails_is_a_result(respond, reason):
    with stubs.serving(respond) as address:
        result = check.run(settings(address))
    assert result.metrics == {
        "post_deploy_predict_success": 0,
        "post_deploy_pictures": 1,
        "post_deploy_failures": 1,
    }
    assert not result.healthy
    assert reason in result.problems[0]
    assert result.model_name is None


def test_a_redirect_is_named_not_followed():
    def respond(handler, _body):
        handler.send_response(301)
        handler.send_header("Location", "https://example.com/predict")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with stubs.serving(respond) as address:
        result = check.run(settings(address))
    assert "HTTP 301 to https://example.com/predict: set PREDICT_URL" in result.problems[0]


def test_a_closed_port_is_a_result(labelled):
    result = check.run(settings(f"http://127.0.0.1:{servers.free_port()}", labelled_images=labelled))
    assert result.metrics["post_deploy_accuracy"] == 0
    assert result.metrics["post_deploy_failures"] == 6
    assert "cannot be reached" in result.problems[0]


def test_a_service_that_never_answers_meets_the_time_of_one_picture():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        result = check.run(settings(f"http://127.0.0.1:{silent.getsockname()[1]}", predict_timeout=0.2))
    assert "PREDICT_TIMEOUT=0.2" in result.problems[0]


def test_a_service_that_drips_meets_the_time_of_all_pictures(labelled):
    with stubs.dripping() as address:
        result = check.run(settings(address, labelled_images=labelled, check_timeout=0.5, predict_timeout=0.2))
    assert result.metrics["post_deploy_failures"] == 6
    assert "CHECK_TIMEOUT=0.5" in result.problems[0]

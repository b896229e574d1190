"""A check's result, from a service's answers and failures."""

import contextlib
import os
import signal
import socket
import tempfile
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from bundle.preprocess import decode
from services.monitor import check, test_images
from services.monitor.deadline import TimeUp, time_limit
from services.monitor.settings import Settings
from tests.services.monitor import stubs


def run(address, **changes):
    return check.run(Settings(predict_url=address, **changes))


def write(path, content=b"this is a cat"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def labelled(tmp_path):
    """Six images in both layouts. The stub answers by the name that each one contains."""
    folder = tmp_path / "labelled"
    for name in ("Cat/1.jpg", "Cat/2.JPG", "cat__3.png", "dog/1.jpg", "dog__2.jpg", "dog__3.webp"):
        write(folder / name, f"this is a {name}".encode())
    for name in (".hidden/cat__4.jpg", "notes.txt", "no-label.jpg"):
        write(folder / name, b"not a labelled image")
    return folder


def by_content(wrong="", broken=""):
    def respond(handler, body):
        name = body.split(b"this is a ")[1].split(b"\r\n")[0].decode().lower()
        if name == broken:
            return stubs.answer(handler, 422, {"detail": "The image is damaged."}, "application/problem+json")
        label = "dog" if ("dog" in name) != (name == wrong) else "cat"
        return stubs.answer(handler, 200, stubs.ANSWER | {"label": label})

    return respond


@pytest.fixture
def cats():
    """A service that answers "cat" to everything."""
    with stubs.serving(stubs.always(200, stubs.ANSWER)) as address:
        yield address


def test_run_requests_are_marked_as_the_monitors():
    sources = []

    def respond(handler, body):
        sources.append(handler.headers["X-Request-Source"])
        stubs.answer(handler, 200, stubs.ANSWER)

    with stubs.serving(respond) as address:
        assert run(address).healthy
    assert sources == ["monitor"]


@pytest.mark.parametrize(("least", "healthy"), [(None, True), (0.8, True), (0.9, False)])
def test_run_metrics_model_and_health_come_from_the_answers(labelled, least, healthy):
    with stubs.serving(by_content(wrong="cat/1.jpg")) as address:
        result = run(address, labelled_images=labelled, min_accuracy=least)
    assert 0 < result.metrics.pop("post_deploy_latency_p50_ms") <= result.metrics.pop("post_deploy_latency_p95_ms")
    assert result.metrics == {
        "post_deploy_accuracy": pytest.approx(5 / 6),
        "post_deploy_recall_cat": pytest.approx(2 / 3),
        "post_deploy_recall_dog": 1,
        "post_deploy_pictures": 6,
        "post_deploy_failures": 0,
    }
    assert (result.model_name, result.model_version) == ("stub", "7")
    assert result.healthy is healthy and any("MIN_ACCURACY=0.9" in p for p in result.problems) is not healthy
    assert result.started <= result.ended


def test_run_unanswered_image_counts_as_wrong_and_unhealthy(labelled):
    with stubs.serving(by_content(broken="dog__2.jpg")) as address:
        result = run(address, labelled_images=labelled)
    assert result.metrics["post_deploy_failures"] == 1
    assert result.metrics["post_deploy_accuracy"] == pytest.approx(5 / 6)
    assert not result.healthy
    assert "The image is damaged." in result.problems[0] and "dog__2.jpg" in result.problems[0]


def test_run_label_unknown_to_the_model_is_a_problem(labelled):
    write(labelled / "cow__1.jpg")
    with stubs.serving(by_content()) as address:
        result = run(address, labelled_images=labelled)
    assert result.metrics["post_deploy_recall_cow"] == 0
    assert any("cow" in p for p in result.problems)


def test_labelled_limit_picks_evenly_and_the_same(labelled):
    for i in range(40):
        write(labelled / f"dog__{i + 10}.jpg")
    found = test_images.labelled(labelled).pick(8)
    assert len(found) == 8 and found == test_images.labelled(labelled).pick(8)
    assert {p.label.lower() for p in found} == {"cat", "dog"}


def test_labelled_descends_into_a_single_outer_folder(labelled):
    outer = labelled.parent / "outer"
    write(outer / "readme.txt")
    labelled.rename(outer / "PetImages")
    found = {(p.label, p.path.name) for p in test_images.labelled(outer).images}
    assert {("Cat", "1.jpg"), ("Cat", "2.JPG"), ("dog", "1.jpg"), ("cat", "cat__3.png")} <= found and len(found) == 6


def test_run_without_labelled_images_sends_a_generated_one(tmp_path):
    received = []

    def respond(handler, body):
        received.append(body)
        stubs.answer(handler, 200, stubs.ANSWER)

    (tmp_path / "..data").mkdir()  # as Kubernetes mounts an optional ConfigMap that does not exist
    with stubs.serving(respond) as address:
        results = [run(address), run(address, labelled_images=tmp_path)]
    for result in results:
        assert result.healthy and not result.problems
        assert result.metrics["post_deploy_predict_success"] == 1 and result.metrics["post_deploy_latency_p50_ms"] > 0
        assert "post_deploy_accuracy" not in result.metrics
    assert all(test_images.generate() in body and b'name="file"' in body for body in received)


def test_generate_gives_a_png_that_the_service_decodes():
    pixels = decode(test_images.generate(64), 64, "stretch")
    assert pixels[0, 0].tolist() == [0, 0, 128] and pixels[5, 9].tolist() == [36, 20, 128]


@pytest.mark.parametrize("name", ["notes.txt", "unlabelled.jpg", "cat/notes.txt", "outer/cat/notes.txt"])
def test_run_folder_without_labelled_images_is_unhealthy(tmp_path, cats, name):
    write(tmp_path / name)
    result = run(cats, labelled_images=tmp_path)
    assert not result.healthy
    assert "LABELLED_IMAGES" in result.problems[0] and str(tmp_path) in result.problems[0]
    assert result.metrics["post_deploy_predict_success"] == 1


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_run_unreadable_class_folder_is_named(cats, mode):
    # Root may read everything, and pytest's own folders are for their owner alone.
    with tempfile.TemporaryDirectory() as name:
        closed = Path(name) / "cat"
        write(closed / "1.jpg")
        closed.chmod(mode)
        Path(name).chmod(0o755)
        user = os.geteuid()
        try:
            os.seteuid(user or 65534)
            result = run(cats, labelled_images=Path(name))
        finally:
            os.seteuid(user)
            closed.chmod(0o755)
    assert not result.healthy
    assert str(closed) in result.problems[0]


def test_run_file_names_that_are_not_utf8_become_printable(tmp_path, cats):
    image = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff/c\xe4t__\xfc.jpg"))
    try:
        write(image)
    except OSError:
        pytest.xfail("this file system takes UTF-8 names only")
    with stubs.serving(stubs.always(422, {"detail": "No."})) as address:
        failed = run(address, labelled_images=image.parent)
    unknown = run(cats, labelled_images=image.parent)
    image.rename(image.with_name("notes.txt"))
    useless = run(cats, labelled_images=image.parent)
    assert "(c?t__?.jpg)" in failed.model_dump_json()
    assert "labelled c?t" in unknown.model_dump_json()
    assert "/? has no" in useless.model_dump_json()


def test_run_recall_names_are_distinct_and_valid_in_mlflow(tmp_path, cats, mlflow_address):
    labels = ("c", "c#", "c+", "x" * 240 + "1", "x" * 240 + "2")
    for label in labels:
        write(tmp_path / label / "1.jpg")
    metrics = run(cats, labelled_images=tmp_path).metrics
    names = [name for name in metrics if name.startswith("post_deploy_recall_")]
    assert len(names) == len(labels) and "post_deploy_recall_c" in names
    client = MlflowClient(mlflow_address)
    run_id = client.create_run("0").info.run_id
    for name in names:
        client.log_metric(run_id, name, metrics[name])
    assert set(client.get_run(run_id).data.metrics) == set(names)


def redirect(handler, _body):
    stubs.start(handler, 301, {"Location": "https://example.com/predict", "Content-Length": "0"})


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
        (redirect, "HTTP 301 to https://example.com/predict"),
    ],
    ids=["500", "503", "503-list", "html", "half-an-answer", "dropped", "cut-off", "redirect"],
)
def test_run_failing_service_is_a_result(respond, reason):
    with stubs.serving(respond) as address:
        result = run(address)
    assert result.metrics == {
        "post_deploy_predict_success": 0,
        "post_deploy_pictures": 1,
        "post_deploy_failures": 1,
    }
    assert not result.healthy and result.model_name is None
    assert reason in result.problems[0]


def test_run_closed_port_fails_every_image(labelled, nowhere):
    result = run(nowhere, labelled_images=labelled)
    assert result.metrics["post_deploy_failures"] == 6 and result.metrics["post_deploy_accuracy"] == 0
    assert len(result.problems) == 1


def test_run_silent_service_meets_the_timeout_per_image():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        result = run(f"http://127.0.0.1:{silent.getsockname()[1]}", predict_timeout=0.2)
    assert "PREDICT_TIMEOUT=0.2" in result.problems[0]


@stubs.FINALISERS_MAY_LOSE_EXCEPTIONS
def test_run_dripping_service_meets_the_timeout_of_the_check(labelled):
    with stubs.dripping() as address:
        result = run(address, labelled_images=labelled, check_timeout=0.5, predict_timeout=0.2)
    assert result.metrics["post_deploy_failures"] == 6
    assert "CHECK_TIMEOUT=0.5" in result.problems[0]


def test_time_limit_ends_a_block_that_lost_the_first_exception():
    with pytest.raises(TimeUp), time_limit(0.05):
        with contextlib.suppress(TimeUp):  # as Python does in a finaliser
            time.sleep(30)
        time.sleep(30)


def test_time_limit_restores_an_outer_timer():
    rung = []
    previous = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    outer = signal.setitimer(signal.ITIMER_REAL, 0.4)
    try:
        with pytest.raises(TimeUp), time_limit(0.05):
            time.sleep(5)
        time.sleep(0.6)
        assert rung == [1]
    finally:
        signal.signal(signal.SIGALRM, previous)
        signal.setitimer(signal.ITIMER_REAL, *outer)

"""Errors over HTTP: each has its status and a sentence that says what to do."""

import http.client
import socket
import time

import pytest
import requests

from tests import bundles
from tests import drawn_images as pictures
from tests.drawn_images import RED
from tests.services.inference.serving import service

RED_PICTURE = pictures.plain(RED)


def assert_problem(response, status, *words, index=None):
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    expected = {"type", "title", "status", "detail", "request_id"} | ({"index"} if index is not None else set())
    assert problem.keys() == expected
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["X-Request-ID"]
    assert problem.get("index") == index
    for word in words:
        assert word in problem["detail"], problem["detail"]
    return problem


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ["empty", "'file'"]),
        ({"data": b"", "headers": {"Content-Type": "image/jpeg"}}, ["empty", "'file'"]),
        ({"files": {"image": RED_PICTURE}}, ["another name", "'file'"]),
        ({"data": {"file": "photo.jpg"}, "files": {"x": ("", b"")}}, ["text", "-F file=@photo.jpg"]),
        ({"files": {"file": ("a.jpg", b"")}}, ["file is empty"]),
        ({"data": b"--x--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, ["no file"]),
        ({"data": b"not a form", "headers": {"Content-Type": "multipart/form-data"}}, ["no file"]),
    ],
)
def test_no_picture_was_sent(shared, options, words):
    assert_problem(requests.post(f"{shared.address}/predict", timeout=30, **options), 400, *words)


@pytest.mark.parametrize("name", pictures.NOT_PICTURES)
def test_not_a_picture(shared, name):
    assert_problem(shared.predict(pictures.NOT_PICTURES[name]()), 415, "Send one of: JPEG")


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_does_not_claim_to_be_a_picture(shared, kind):
    assert_problem(shared.send(RED_PICTURE, kind), 415, kind, "'file'")


@pytest.mark.parametrize("name", pictures.BROKEN)
def test_a_broken_picture(shared, name):
    assert_problem(shared.predict(pictures.BROKEN[name]()), 422, ".")


def test_one_bad_picture_of_several_is_named(shared):
    assert_problem(shared.predict(RED_PICTURE, RED_PICTURE, b"text"), 415, index=2)
    assert_problem(shared.predict(pictures.png_header(10**4, 10**4), RED_PICTURE), 422, "10000 × 10000", index=0)
    assert_problem(shared.predict(RED_PICTURE, b""), 400, "empty", index=1)


def test_unknown_address_and_wrong_method(shared):
    assert_problem(shared.get("/nothing/here"), 404, "/docs")
    response = shared.get("/predict")
    assert_problem(response, 405, "Allow")
    assert set(response.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
    response = requests.request("BREW", f"{shared.address}/health", timeout=30)
    assert_problem(response, 405)
    assert {"GET", "HEAD", "OPTIONS"} == set(response.headers["Allow"].split(", "))


@pytest.fixture(scope="module")
def small(bundle, tmp_path_factory):
    """One worker with one place and small limits."""
    limits = {"MAX_UPLOAD_BYTES": 10_000, "MAX_IN_FLIGHT": 1, "UPLOAD_TIMEOUT": 2, "MAX_PIXELS": 90_000}
    with service(tmp_path_factory.mktemp("small"), MODEL_DIR=bundle, WORKERS=1, **limits) as running:
        yield running


def connect(running, length, body=b""):
    """Announce a picture of that many bytes and send only the given part of it."""
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=20)
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def answer(connection):
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response.headers, response.read().decode()


def test_the_limit_of_bytes_is_exact(small):
    exact = RED_PICTURE + bytes(10_000 - len(RED_PICTURE))
    assert small.send(exact).status_code == 200
    assert_problem(small.send(exact + b"\0"), 413, "10,000 bytes")
    assert_problem(small.predict(exact), 413, "10,000 bytes")


def test_too_large_is_said_before_the_body_is_read(small):
    with connect(small, 10**9) as connection:
        status, _, text = answer(connection)
    assert status == 413
    assert "10,000 bytes" in text


@pytest.mark.parametrize("size", [11_000, 60_000, 3_000_000])
def test_a_client_that_sends_all_before_it_reads_gets_its_413(small, size):
    for _ in range(5):
        with requests.Session() as session:
            response = session.post(f"{small.address}/predict", data=bytes(size), timeout=30)
        assert response.status_code == 413


def test_a_body_in_chunks_is_stopped_at_the_limit(small):
    assert_problem(small.send(bytes(1000) for _ in range(15)), 413, "10,000 bytes")


def test_the_limit_of_pixels_can_be_set(small):
    assert small.send(pictures.plain(RED, "PNG", (300, 300))).status_code == 200
    assert_problem(small.send(pictures.plain(RED, "PNG", (301, 300))), 422, "301 × 300", "90,000")


def test_full_is_said_before_the_body_is_read_and_the_rest_goes_on(small):
    half = len(RED_PICTURE) // 2
    before = small.metric("requests_shed_total")
    with connect(small, len(RED_PICTURE), RED_PICTURE[:half]) as first:
        _until(lambda: small.metric("predictions_in_flight") == 1)
        with connect(small, 5000) as second:
            status, headers, text = answer(second)
        assert (status, headers["Retry-After"]) == (503, "1")
        assert "urn:problem:full" in text
        assert_problem(small.predict(RED_PICTURE), 503, "again")
        assert small.get("/health").status_code == 200
        first.sendall(RED_PICTURE[half:])
        assert answer(first)[0] == 200
    assert small.metric("requests_shed_total") == before + 2
    _until(lambda: small.metric("predictions_in_flight") == 0)
    assert small.predict(RED_PICTURE).status_code == 200


def test_what_is_refused_before_the_app_is_answered_counted_and_logged_as_by_the_app(small):
    before = small.metric("request_count_total", endpoint="/predict", method="POST", status="503")
    with connect(small, len(RED_PICTURE), RED_PICTURE[:100]):
        _until(lambda: small.metric("predictions_in_flight") == 1)
        mine = small.predict(RED_PICTURE, headers={"X-Request-ID": "mine-1"})
        other = small.predict(RED_PICTURE, headers={"X-Request-ID": "<script>"})
    assert_problem(mine, 503, "again")
    assert mine.headers["X-Request-ID"] == "mine-1"
    assert assert_problem(other, 503)["request_id"] != "<script>"
    assert mine.headers["Content-Security-Policy"] == small.get("/health").headers["Content-Security-Policy"]
    line = small.line("mine-1")
    assert (line["method"], line["endpoint"], line["status"]) == ("POST", "/predict", 503)
    assert small.metric("request_count_total", endpoint="/predict", method="POST", status="503") == before + 2
    _until(lambda: small.metric("predictions_in_flight") == 0)


def test_a_client_that_falls_silent_loses_its_place(small):
    with connect(small, 5000, RED_PICTURE[:100]) as silent:
        status, _, text = answer(silent)
    assert status == 408
    assert "2 seconds" in text
    assert small.predict(RED_PICTURE).status_code == 200


def test_a_client_that_hangs_up_is_no_error_of_the_service(small):
    connect(small, 5000, RED_PICTURE[:100]).close()
    chunks = b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nnonsense\r\n"
    # What is refused before its body is read has its body read afterwards.
    for route, status in ((b"/predict", 400), (b"/nowhere", 404)):
        with socket.create_connection(("127.0.0.1", small.port), timeout=20) as broken:
            broken.sendall(b"POST " + route + chunks)
            assert answer(broken)[0] == status
    assert small.predict(RED_PICTURE).status_code == 200
    assert not [line for line in small.lines() if line["level"] == "ERROR"]


def test_an_unexpected_error_is_logged_and_not_shown(tmp_path):
    fragile = bundles.write(tmp_path / "model", fragile=True)
    with service(tmp_path, MODEL_DIR=fragile, WORKERS=1) as running:
        assert running.predict(RED_PICTURE).status_code == 200
        response = running.predict(pictures.plain((255, 0, 0), "PNG"))
        problem = assert_problem(response, 500, response.headers["X-Request-ID"])
        assert "Gather" not in response.text
        assert "Traceback" not in response.text
        logged = [line for line in running.lines() if line["level"] == "ERROR"]
        assert [line["request_id"] for line in logged] == [problem["request_id"]]
        assert "Gather" in logged[0]["exc_info"]
        assert running.metric("request_count_total", endpoint="/predict", status="500") == 1
        assert running.predict(RED_PICTURE).status_code == 200


def _until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)

"""Connections that hold still, drip or make no sense: they cost others nothing."""

import concurrent.futures
import contextlib
import http.client
import json
import select
import threading
import time

import pytest
import requests

from tests import drawn_images as pictures
from tests.services.inference.serving import service

HEAD = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: "


@pytest.fixture(scope="module")
def narrow(bundle, tmp_path_factory):
    """One worker with two threads."""
    folder = tmp_path_factory.mktemp("narrow")
    with service(folder, MODEL_DIR=bundle, WORKERS=1, THREADS=2, MAX_IN_FLIGHT=1) as running:
        running.wait_for_workers(1)
        yield running


def received(connection):
    """All that arrives until the other side closes."""
    with contextlib.suppress(ConnectionResetError):
        return b"".join(iter(lambda: connection.recv(65536), b""))
    return b""


@pytest.mark.parametrize("start", [b"", b"GET", HEAD], ids=["silent", "half a line", "half a header"])
def test_unfinished_headers_take_no_thread(narrow, start):
    with contextlib.ExitStack() as stack, requests.Session() as kept:
        kept.get(f"{narrow.address}/health", timeout=30)
        slow = [stack.enter_context(narrow.connect(start)) for _ in range(8)]
        for _ in range(3):
            for connection in slow:
                connection.sendall(b"a")
            assert requests.get(f"{narrow.address}/health", timeout=2).status_code == 200
            assert kept.get(f"{narrow.address}/health", timeout=2).status_code == 200
        assert select.select(slow, [], [], 0)[0] == [], "this test means nothing if they have been ended before"


def test_headers_that_arrive_in_pieces_are_answered(narrow):
    picture = pictures.plain()
    request = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n" % len(picture)
    with narrow.connect() as connection:
        for kept_alive in (True, False):
            head = request + (b"\r\n" if kept_alive else b"Connection: close\r\n\r\n")
            for byte in head:
                connection.sendall(bytes([byte]))
            connection.sendall(picture)
            response = http.client.HTTPResponse(connection)
            response.begin()
            assert response.status == 200
            assert json.load(response)["label"] == "red"


def test_headers_that_drip_are_ended(narrow):
    with narrow.connect(HEAD) as connection:
        connection.settimeout(0.5)
        for _ in range(60):
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(65536)
                break
            connection.sendall(b"a")
        else:
            raise AssertionError("a dripping client was heard for 30 seconds")
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_an_upload_that_drips_gives_its_place_to_others(narrow):
    picture = pictures.plain()
    with narrow.connect(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n") as dripping:
        while narrow.metric("predictions_in_flight") == 0:
            time.sleep(0.05)
        assert narrow.send(picture).status_code == 503, "this test means nothing if there was a place"
        for _ in range(4):  # UPLOAD_TIMEOUT is 30 seconds
            dripping.sendall(b"a")
            time.sleep(1)
        assert narrow.send(picture).status_code == 200
        answer = received(dripping)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_clients_that_do_not_close_hold_nobody_up(narrow):
    with contextlib.ExitStack() as stack:
        for number in range(8):
            staying = stack.enter_context(narrow.connect(b"GET /health HTTP/1.0\r\n\r\n"))
            staying.settimeout(1)  # each of those before would cost the next one two seconds
            assert received(staying).startswith(b"HTTP/1.0 200 "), number
        assert requests.get(f"{narrow.address}/health", timeout=1).status_code == 200


def test_clients_that_ask_without_a_pause_leave_a_thread_to_others(narrow):
    stop = threading.Event()

    def ask():
        with requests.Session() as session:
            while not stop.is_set():
                session.get(f"{narrow.address}/health", timeout=30)

    with concurrent.futures.ThreadPoolExecutor() as pool, contextlib.ExitStack() as stack:
        stack.callback(stop.set)
        busy = [pool.submit(ask) for _ in range(4)]
        for _ in range(20):
            assert requests.get(f"{narrow.address}/health", timeout=5).status_code == 200
        stop.set()
        for one in busy:
            one.result()


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 20_000 + b"\r\n\r\n", 431, "header"),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 200 + b"\r\n", 431, "header"),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400, "request line"),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", 400, "CONTENT-LENGTH"),
        (b"nonsense\r\n\r\n", 400, "request line"),
        (b"\r\n\r\n", 400, "request line"),
    ],
    ids=["long header", "many headers", "long line", "bad length", "nonsense", "empty lines"],
)
def test_what_is_not_http_gets_a_problem_with_an_id_and_a_log_line(narrow, request_, status, words):
    before = refused(narrow, status)
    with narrow.connect(request_) as connection:
        head, _, body = received(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head.decode().split("\r\n"))}
    problem = json.loads(body)
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-request-id"] == problem["request_id"]
    assert problem["status"] == status
    assert words.lower() in problem["detail"].lower()
    assert narrow.line(problem["request_id"])["status"] == status
    assert refused(narrow, status) == before + 1


def refused(running, status):
    wanted = {("endpoint", "other"), ("status", str(status))}
    return sum(
        v for (name, labels), v in running.samples().items() if name == "request_count_total" and wanted < labels
    )

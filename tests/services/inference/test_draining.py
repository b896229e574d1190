"""The end of an instance: clients are sent elsewhere first, and whoever is there is answered."""

import contextlib
import http.client
import os
import signal
import threading
import time
from itertools import cycle

import pytest
import requests

from tests import drawn_images as pictures
from tests.services.inference.serving import service

GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def one(bundle, tmp_path):
    """An instance with one worker, that may take its time to stop."""
    settings = {"WORKERS": 1, "DRAIN_FILE": tmp_path / "drain", "GRACEFUL_TIMEOUT": 20}
    with service(tmp_path, MODEL_DIR=bundle, **settings) as running:
        running.wait_for_workers(1)
        yield running


def answer(connection):
    """Status and Connection header of the next answer."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status, response.headers["Connection"]


def test_a_draining_instance_says_so_and_keeps_no_connection(one, tmp_path):
    (tmp_path / "drain").touch()
    with requests.Session() as session:
        for path, status in (("/health", 200), ("/ready", 503), ("/nothing", 404), ("/metrics", 200)):
            response = session.get(one.address + path, timeout=30)
            assert (response.status_code, response.headers["Connection"]) == (status, "close"), path
    assert one.get("/ready").json()["type"] == "urn:problem:draining"
    assert one.predict(pictures.plain()).status_code == 200
    (tmp_path / "drain").unlink()
    response = one.get("/ready")
    assert (response.status_code, response.headers["Connection"]) == (200, "keep-alive")


def test_a_restarted_container_does_not_drain(bundle, tmp_path):
    """The volume outlives the container that was told to end."""
    (tmp_path / "drain").touch()
    with service(tmp_path, MODEL_DIR=bundle, DRAIN_FILE=tmp_path / "drain") as running:
        assert running.get("/ready").status_code == 200


def test_clients_that_wait_to_be_accepted_are_answered(one):
    (worker,) = one.workers()
    os.kill(worker, signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(one.connect(GET)) for _ in range(30)]
        one.process.terminate()
        time.sleep(0.5)  # until the worker has its signal; it sees that before it sees the clients
        os.kill(worker, signal.SIGCONT)
        assert [answer(connection) for connection in waiting] == [(200, "close")] * 30
    assert one.process.wait(20) == 0


def test_whoever_is_connected_is_answered_after_the_signal(one):
    picture = pictures.plain()
    upload = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(
        picture
    )
    with one.connect(GET) as kept, one.connect(GET[:10]) as in_pieces, one.connect(upload) as uploading:
        while one.metric("predictions_in_flight") != 1:
            time.sleep(0.05)
        assert answer(kept) == (200, "keep-alive")
        one.process.terminate()
        refused(one)
        for piece in (GET[10:20], GET[20:-2], GET[-2:]):
            in_pieces.sendall(piece)
            time.sleep(0.1)
        kept.sendall(GET)
        uploading.sendall(picture)
        assert [answer(connection) for connection in (kept, in_pieces)] == [(200, "close")] * 2
        # Begun before the signal: it was promised to be kept.
        assert answer(uploading) == (200, "keep-alive")
        uploading.sendall(GET)
        assert answer(uploading) == (200, "close")
    assert one.process.wait(20) == 0


def refused(running):
    """Wait until new clients are refused, which is better than being let in and dropped."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            running.connect().close()
        except ConnectionRefusedError:
            return
        time.sleep(0.05)
    raise AssertionError("it still listens")


def test_a_client_that_says_nothing_does_not_hold_up_the_end(one):
    with one.connect(), one.connect(GET) as kept:
        assert answer(kept)[0] == 200
        one.process.terminate()
        assert one.process.wait(15) == 0
    assert "SIGKILL" not in one.log.read_text()


class Clients:
    """Threads that ask without a pause, each on connections it keeps, of whichever instances are there."""

    def __init__(self, count):
        self.ports = []
        self.answered = 0
        self.failed = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self):
        picture = pictures.plain()
        for number in cycle(range(1000)):
            if self._stop.is_set():
                return
            # As kube-proxy does: an instance is chosen for a connection, and the connection stays with it.
            connection = http.client.HTTPConnection("127.0.0.1", self.ports[number % len(self.ports)], timeout=30)
            try:
                while not self._stop.is_set():
                    connection.request("POST", "/predict", picture, {"Content-Type": "image/jpeg"})
                    response = connection.getresponse()
                    response.read()
                    self.answered += response.status == 200
                    if response.status != 200:
                        self.failed.append(response.status)
                    if response.will_close:
                        break
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
            finally:
                connection.close()


@pytest.mark.parametrize("drain", [True, False], ids=["drained", "signal only"])
def test_replacing_instances_under_load_loses_no_request(bundle, tmp_path, drain):
    """Rolls three times; the clients learn of an end a second late, as they do in a cluster."""
    with contextlib.ExitStack() as stack:

        def start(number):
            folder = tmp_path / str(number)
            folder.mkdir()
            settings = {"WORKERS": 1, "DRAIN_FILE": folder / "drain", "GRACEFUL_TIMEOUT": 20}
            return stack.enter_context(service(folder, MODEL_DIR=bundle, **settings))

        instances = [start(0), start(1)]
        clients = Clients(6)
        clients.ports = [instance.port for instance in instances]
        with clients:
            for number in (2, 3, 4):
                new = start(number)
                old = instances.pop(0)
                instances.append(new)
                if drain:
                    (tmp_path / str(number - 2) / "drain").touch()
                    time.sleep(1)
                before = clients.answered
                clients.ports = [instance.port for instance in instances]
                time.sleep(0.5)
                assert clients.answered > before
                old.process.terminate()
                assert old.process.wait(20) == 0
    assert clients.failed == []
    assert clients.answered > 200

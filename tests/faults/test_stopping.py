"""SIGTERM under load, and one instance replaced by another behind a proxy: whoever was let in is answered."""

import contextlib
import http.client
import threading

import pytest

from tests import drawn_images as pictures
from tests.faults.proxy import proxy
from tests.services.inference.serving import service
from tests.services.inference.clients import Clients

pytestmark = pytest.mark.faults

UPLOAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s"


def test_instances_replaced_behind_a_proxy_lose_no_request(bundle, tmp_path):
    """Three times; two workers each, and clients that keep their connections as long as they may."""
    with contextlib.ExitStack() as stack:

        def start(number):
            folder = tmp_path / str(number)
            folder.mkdir()
            running = stack.enter_context(service(folder, MODEL_DIR=bundle, GRACEFUL_TIMEOUT=20))
            running.wait_for_workers()
            return running

        old = start(0)
        way = stack.enter_context(proxy(old.port))
        clients = Clients(6)
        clients.ports = [way.port]
        with clients:
            for number in (1, 2, 3):
                new = start(number)
                before = clients.answered
                way.target = new.port
                old.process.terminate()
                assert old.process.wait(25) == 0
                assert clients.answered > before
                old = new
    assert clients.failed == []
    assert clients.answered > 200


def test_all_that_was_sent_before_the_signal_is_answered(bundle, tmp_path):
    """Sixty uploads at once, more than are computed or even accepted when the signal comes."""
    answers = []

    def ask(connection):
        response = http.client.HTTPResponse(connection)
        response.begin()
        answers.append((response.status, response.read() != b""))

    picture = pictures.noise(size=(2000, 1500))
    with service(tmp_path, MODEL_DIR=bundle, GRACEFUL_TIMEOUT=30, MAX_IN_FLIGHT=100, THREADS=120) as running:
        running.wait_for_workers()
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(running.connect(UPLOAD % (len(picture), picture))) for _ in range(60)]
            running.process.terminate()
            threads = [threading.Thread(target=ask, args=(connection,)) for connection in connections]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert running.process.wait(35) == 0
        assert answers == [(200, True)] * 60
        assert len([line for line in running.lines() if line.get("endpoint") == "/predict"]) == 60

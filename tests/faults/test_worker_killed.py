"""A worker is killed in the middle of its requests."""

import contextlib
import http.client
import os
import signal
import threading
import time

import pytest

from tests import drawn_images as pictures
from tests.services.inference.serving import service

pytestmark = pytest.mark.faults


class Client:
    """Sends pictures over one connection until it fails; counts answers, and notes which worker it was with."""

    def __init__(self, running):
        self.running = running
        self.answered = 0
        self.failed = ""
        self.worker = None
        self.number = f"client-{id(self)}"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.running.port, timeout=30)
        headers = {"Content-Type": "image/jpeg", "X-Request-ID": self.number}
        try:
            while not self._stop.is_set():
                connection.request("POST", "/predict", pictures.plain(), headers)
                response = connection.getresponse()
                response.read()
                assert response.status == 200
                self.answered += 1
        except (OSError, http.client.HTTPException, AssertionError) as error:
            self.failed = repr(error)
        finally:
            connection.close()

    def end(self):
        self._stop.set()
        self._thread.join()
        seen = {line["process"] for line in self.running.lines() if line.get("request_id") == self.number}
        (self.worker,) = seen


def test_only_the_killed_workers_own_requests_fail(bundle, tmp_path):
    # Places for all, also if one worker gets most of them: nobody shall be refused.
    places = {"THREADS": 60, "MAX_IN_FLIGHT": 50}
    with service(tmp_path, MODEL_DIR=bundle, **places) as running, contextlib.ExitStack() as stack:
        running.wait_for_workers()
        clients = [Client(running) for _ in range(12)]
        while min(client.answered for client in clients) < 5:
            time.sleep(0.05)
        # Six uploads whose bodies have not come yet: in flight for sure when the worker dies.
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\n"
        for _ in range(6):
            stack.enter_context(running.connect(head))
        while running.metric("predictions_in_flight") < 6:
            time.sleep(0.05)
        killed, other = running.workers()
        os.kill(killed, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while not running.loaded() - {killed, other}:
            assert time.monotonic() < deadline, running.log.read_text()
            time.sleep(0.02)
        new = [Client(running) for _ in range(12)]
        while min(client.answered for client in new) < 5:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for client in clients + new:
            client.end()
        assert {client.worker for client in clients if client.failed} == {killed}
        assert {client.worker for client in clients if not client.failed} == {other}
        assert not [client.failed for client in new if client.failed]
        assert killed not in {client.worker for client in new}

        answered = sum(client.answered for client in clients + new)
        counted = running.metric("predictions_total", label="red")
        # The dead worker may have counted what it had no more time to send.
        assert answered <= counted <= answered + sum(bool(client.failed) for client in clients)
        assert running.metric("prediction_confidence_count", label="red") == counted
        # Of the six uploads in flight some died with their worker, and so did its part of the gauge.
        stack.close()
        while running.metric("predictions_in_flight"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert running.metric("model_ready") == 1

"""SIGTERM under load, and instances replaced behind a proxy: every accepted request is answered."""

import contextlib
import http.client

import pytest

from tests import drawn_images
from tests.faults.clients import UPLOAD, accepted, answered, clients, failures, wait_until
from tests.faults.proxy import proxy
from tests.faults.tls import tls_service
from tests.services.inference.serving import service

pytestmark = pytest.mark.faults

UPLOADS = 60


@pytest.mark.parametrize("drain", [True, False], ids=["drained", "signal only"])
def test_instances_replaced_behind_a_proxy_lose_no_request(bundle, tmp_path, drain):
    with contextlib.ExitStack() as stack:

        def start(number):
            folder = tmp_path / str(number)
            folder.mkdir()
            settings = {"DRAIN_FILE": folder / "drain", "GRACEFUL_TIMEOUT": 20}
            running = stack.enter_context(service(folder, MODEL_DIR=bundle, **settings))
            running.wait_for_workers()
            return running

        old = start(0)
        way = stack.enter_context(proxy(old.port))
        with clients(6, [way.port]) as asking:
            for number in (1, 2, 3):
                new = start(number)
                before = answered(asking)
                way.target = new.port
                if drain:
                    (tmp_path / str(number - 1) / "drain").touch()
                    # Clients that still have a connection are told to close it.
                    wait_until(lambda old=old: not accepted(old), old)
                old.process.terminate()
                assert old.process.wait(25) == 0
                wait_until(lambda before=before: answered(asking) > before + 20, new)
                old = new
    assert failures(asking) == []


@pytest.mark.parametrize("start", [service, tls_service], ids=["plain", "tls"])
def test_accepted_uploads_are_answered_after_the_signal(bundle, tmp_path, start):
    image = drawn_images.noise(size=(1000, 750))
    with start(tmp_path, MODEL_DIR=bundle, GRACEFUL_TIMEOUT=30, MAX_IN_FLIGHT=100) as running:
        running.wait_for_workers()
        with contextlib.ExitStack() as stack:
            head = UPLOAD % len(image) + image[:1000]
            connections = [stack.enter_context(running.connect(head)) for _ in range(UPLOADS)]
            wait_until(lambda: accepted(running) >= UPLOADS, running)
            for number, connection in enumerate(connections):
                if number == UPLOADS // 2:
                    running.process.terminate()
                connection.sendall(image[1000:])
            responses = [http.client.HTTPResponse(connection) for connection in connections]
            for response in responses:
                response.begin()
                assert response.read()
        assert running.process.wait(35) == 0
    assert [response.status for response in responses] == [200] * UPLOADS

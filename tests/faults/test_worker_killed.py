"""A worker is killed amid its requests: only these fail."""

import os
import signal

import pytest

from tests import drawn_images
from tests.faults.clients import answered, clients, failures, wait_until
from tests.services.inference.serving import service

pytestmark = pytest.mark.faults

IMAGE = drawn_images.plain(size=(1000, 800))  # large enough that each worker always has some in progress


def process_of(client, running):
    (process,) = {line["process"] for line in running.lines() if line.get("request_id") == client.request_id}
    return process


def test_only_the_killed_workers_own_requests_fail(bundle, tmp_path):
    # One worker may get all connections.
    with service(tmp_path, MODEL_DIR=bundle, MAX_IN_FLIGHT=64) as running:
        running.wait_for_workers()
        before = set(running.workers())
        with clients(12, [running.port], IMAGE) as old:
            wait_until(lambda: min(client.answered for client in old) >= 5, running)
            killed = process_of(old[0], running)
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda: running.loaded() - before, running)
            with clients(12, [running.port], IMAGE) as new:
                wait_until(lambda: failures(new) or min(client.answered for client in new) >= 5, running)
                assert not failures(new)
        assert old[0].failure
        assert {bool(client.failure) for client in old if process_of(client, running) == killed} == {True}
        assert not failures(new) + [c.failure for c in old if c.failure and process_of(c, running) != killed]

        # The dead worker may have counted answers that it had no more time to send.
        counted = running.metric("predictions_total", label="red")
        assert answered(old + new) <= counted <= answered(old + new) + len(failures(old))
        # It may have died between two counts of one answer.
        assert 0 <= counted - running.metric("prediction_confidence_count", label="red") <= 1
        # Its requests in progress no longer count.
        assert running.metric("predictions_in_flight") == 0
        assert running.metric("model_ready") == 1

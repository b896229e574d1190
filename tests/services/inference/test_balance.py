"""Connections that stay open spread over the workers: one that has many leaves new ones to those that have few."""

import os
import signal
import uuid

from tests.services.inference.serving import service

MANY, NEW, TRIES = 6, 5, 4


def connect(running, answered_by):
    """Open a connection that stays, and note which worker answers on it."""
    request_id = uuid.uuid4().hex
    connection = running.connect(f"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-ID: {request_id}\r\n\r\n".encode())
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    answered_by.append(running.line(request_id)["process"])
    return connection


def test_new_connections_go_to_the_worker_that_has_none(bundle, tmp_path):
    # Who is quicker is for the system to say: on a busy machine it may be the wrong one, but not each time.
    outcomes = []
    with service(tmp_path, MODEL_DIR=bundle, WORKERS=2) as running:
        running.wait_for_workers(2)
        full, empty = running.workers()
        for _ in range(TRIES):
            before, after = [], []
            os.kill(empty, signal.SIGSTOP)
            try:
                connections = [connect(running, before) for _ in range(MANY)]
            finally:
                os.kill(empty, signal.SIGCONT)
            assert set(before) == {full}
            connections += [connect(running, after) for _ in range(NEW)]
            for connection in connections:
                connection.close()
            outcomes.append(after.count(empty))
            if outcomes[-1] == NEW:
                return
    raise AssertionError(f"of {NEW} new connections the worker without any got {outcomes}")

"""A thousand idle connections and slow, stalled, half-closed and oversize uploads: healthy clients go on."""

import contextlib
import resource
import time

import pytest

from tests import drawn_images
from tests.faults.clients import UPLOAD
from tests.faults.slow_clients import latencies, misbehaving
from tests.faults.tls import tls_service
from tests.services.inference.serving import Service, service

pytestmark = pytest.mark.faults


@pytest.fixture(params=[service, tls_service], ids=["plain", "tls"])
def running(bundle, tmp_path, request):
    """A service with one worker."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= 4096, "the machine allows too few open files for this test"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    with request.param(tmp_path, MODEL_DIR=bundle, WORKERS=1, UPLOAD_TIMEOUT=3) as running:
        running.wait_for_workers(1)
        yield running


def test_healthy_clients_go_on_among_a_thousand_slow_ones(running):
    with misbehaving(running):
        found = latencies(running, 8, drawn_images.plain())
        assert len(found) > 50
        for status, least in (("408", 4), ("400", 4), ("413", 1)):
            assert running.metric("request_count_total", status=status) >= least
    assert len(latencies(running, 1, drawn_images.plain())) > 5
    assert not running.lines_at("ERROR")


def test_silent_and_dripping_connections_are_closed(running):
    silent = [Service.connect(running), running.connect(), running.connect(UPLOAD[:20])]
    dripping = running.connect()
    for byte in UPLOAD[:20]:
        time.sleep(0.5)
        try:
            dripping.sendall(bytes([byte]))
        except OSError:
            break
    else:
        raise AssertionError("a head may drip for ten seconds")
    for connection in (*silent, dripping):
        with connection, contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""

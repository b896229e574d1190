"""A thousand idle connections and slow, stalled, half-closed and oversize uploads: healthy clients go on."""

import resource

import pytest

from tests import drawn_images as pictures
from tests.faults.slow_clients import latencies, misbehaving
from tests.services.inference.serving import service

pytestmark = pytest.mark.faults


def test_healthy_clients_are_answered_among_a_thousand_that_are_not(bundle, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= 4096, "the machine allows too few open files for this test"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    with service(tmp_path, MODEL_DIR=bundle, THREADS=50, UPLOAD_TIMEOUT=3) as running:
        running.wait_for_workers()
        with misbehaving(running):
            found = latencies(running.port, 8, pictures.plain())
            assert len(found) > 100 and max(found) < 5, "the slow ones hold the healthy ones up"
            assert running.metric("request_count_total", status="408") >= 4
            assert running.metric("request_count_total", status="400") >= 4
            assert running.metric("request_count_total", status="413") >= 1
        assert len(latencies(running.port, 1, pictures.plain())) > 20
        assert not running.lines_at("ERROR")

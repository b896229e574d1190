import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from services.inference.routes import metrics
from tests import drawn_images as images
from tests.services.inference.client import assert_problem, create_client

INSIDE = {"SERVER_PORT": "9100"}


@pytest.fixture
def unfinished():
    """The file of a worker that is just starting: it has no size yet."""
    file = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"], "counter_99999.db")
    file.touch()
    yield file
    file.unlink()


def test_scrape_waits_for_a_starting_worker(client, monkeypatch, unfinished):
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 2:
            unfinished.write_bytes(bytes(1 << 16))

    monkeypatch.setattr(metrics, "time", SimpleNamespace(sleep=sleep))  # not for other threads
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain")
    assert len(waits) == 2


def test_scrape_fails_on_a_damaged_file(client, monkeypatch, unfinished):
    monkeypatch.setattr(metrics, "time", SimpleNamespace(sleep=lambda seconds: None))
    assert_problem(client.get("/metrics"), 500, "internal")


def test_metrics_can_have_their_own_port(bundle):
    client = create_client(model_dir=bundle, metrics_port=9100)
    assert client.send(images.plain()).status_code == 200
    assert_problem(client.get("/metrics"), 404, "not-found")
    assert "metrics" not in client.get("/").text
    for path in ("/metrics", "/health", "/ready"):
        assert client.get(path, environ_overrides=INSIDE).status_code == 200
    for path in ("/", "/docs", "/nothing", "/static/page.js"):
        assert client.get(path, environ_overrides=INSIDE).status_code == 404
    assert client.send(images.plain(), environ_overrides=INSIDE).status_code == 404
    # A client cannot name another port than its own.
    lying = {"Host": "127.0.0.1:9100", "X-Forwarded-Port": "9100"}
    assert client.get("/metrics", headers=lying, environ_overrides={"SERVER_PORT": "8000"}).status_code == 404

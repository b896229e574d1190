import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from services.inference.container import __main__ as container
from tests import servers


@pytest.fixture
def answer(monkeypatch):
    """Serve GET /health with a status on a free port, which PORT names."""

    class Handler(BaseHTTPRequestHandler):
        status = 200

        def do_GET(self):
            self.send_response(self.status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setenv("PORT", str(server.server_port))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Handler
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_healthcheck_passes_on_200_only(answer, status, code):
    answer.status = status
    assert container.healthcheck() == code


def test_healthcheck_fails_without_a_service(monkeypatch):
    monkeypatch.setenv("PORT", str(servers.free_port()))
    assert container.healthcheck() == 1


def test_drain_creates_the_file_and_waits(monkeypatch, tmp_path):
    waits = []
    monkeypatch.setenv("DRAIN_FILE", str(tmp_path / "drain"))
    monkeypatch.setattr(container.time, "sleep", waits.append)
    assert container.drain() == 0
    assert (tmp_path / "drain").exists()
    assert waits == [container.DRAIN_SECONDS]

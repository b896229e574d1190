import pytest

from tests import bundles
from tests import drawn_images as images
from tests.services.inference.client import assert_problem, create_client


def test_unknown_path_is_a_problem(client):
    assert_problem(client.get("/nothing/here"), 404, "not-found", "/docs")


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [("/predict", "GET", {"POST", "OPTIONS"}), ("/health", "BREW", {"GET", "HEAD", "OPTIONS"})],
)
def test_wrong_method_is_a_problem_with_the_allowed_ones(client, path, method, allowed):
    response = client.open(path, method=method)
    assert_problem(response, 405, "method-not-allowed", "Allow")
    assert set(response.headers["Allow"].split(", ")) == allowed


def test_unexpected_error_is_logged_and_not_shown(tmp_path, caplog):
    client = create_client(model_dir=bundles.write(tmp_path, fragile=True))
    counted = client.metric("request_count_total", endpoint="/predict", status="500")
    assert client.send(images.plain()).status_code == 200
    response = client.send(images.plain((255, 0, 0), "PNG"))
    assert_problem(response, 500, "internal", response.headers["X-Request-ID"])
    assert "Gather" not in response.text and "Traceback" not in response.text
    (logged,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert logged.request_id == response.headers["X-Request-ID"]
    assert "Gather" in str(logged.exc_info[1])
    assert client.metric("request_count_total", endpoint="/predict", status="500") == counted + 1
    assert client.send(images.plain()).status_code == 200

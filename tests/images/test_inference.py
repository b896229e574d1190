"""The image of the service, run as a cluster runs it."""

import json

import pytest
import requests

from tests import servers
from tests.images import engine

CAT = (servers.ROOT / "docs" / "cat.jpg").read_bytes()


@pytest.fixture(scope="module")
def offline(inference):
    """The service without a network."""
    with engine.container(inference, "--network=none") as container:
        container.wait_until_ready()
        yield container


def test_service_needs_no_network(offline):
    assert offline.request("/health")[0] == 200
    manifest = json.loads((servers.ROOT / "models" / "champion" / "manifest.json").read_text())
    assert json.loads(offline.request("/ready")[1])["model"]["version"] == manifest["version"]
    status, answer = offline.request("/predict", CAT)
    assert (status, json.loads(answer)["label"]) == (200, "cat")
    metrics = offline.request("/metrics")[1]
    assert b'request_count_total{endpoint="/predict",method="POST",status="200"} 1.0\n' in metrics


def test_service_has_no_root_rights_and_logs_no_errors(offline):
    assert offline.run("id", "-u").stdout == b"10001\n"
    assert offline.run("touch", "/app/new", check=False).returncode != 0
    assert b"\nCapEff:\t" + b"0" * 16 + b"\n" in offline.run("cat", "/proc/1/status").stdout
    assert [line for line in offline.logs().splitlines() if '"level": "INFO"' not in line] == []


def test_health_check_fails_without_a_service(inference, offline):
    assert engine.inspect(inference.name)["Healthcheck"]["Test"][0] == "CMD"
    assert engine.podman("healthcheck", "run", offline.name).returncode == 0
    with engine.container(inference, "--network=none", command=("sleep", "60")) as idle:
        assert engine.podman("healthcheck", "run", idle.name, check=False).returncode == 1


def test_published_port_has_the_pages_and_predictions(inference):
    port = servers.free_port()
    with engine.container(inference, f"--publish=127.0.0.1:{port}:8000") as container:
        container.wait_until_ready()
        address = f"http://127.0.0.1:{port}"
        for path in ("/", "/static/page.js", "/docs", "/openapi.json"):
            assert requests.get(address + path, timeout=30).status_code == 200, path
        answer = requests.post(f"{address}/predict", files={"file": CAT}, timeout=30)
        assert answer.json()["label"] == "cat"


def test_stop_ends_the_service_with_status_0(inference):
    with engine.container(inference, "--network=none") as container:
        container.wait_until_ready()
        engine.podman("stop", "--time=30", container.name)
        assert engine.inspect(container.name)["State"]["ExitCode"] == 0, container.logs()


def test_wrong_setting_ends_the_service_with_one_line(inference):
    with engine.container(inference, "--network=none", "--env=WORKERS=many") as container:
        assert int(engine.podman("wait", container.name).stdout) != 0
        assert container.logs().startswith("WORKERS is 'many'") and container.logs().count("\n") == 1

"""The image of the service, run as a cluster runs it."""

import json
import time

import pytest
import requests

from tests import servers
from tests.images import engine

# From the inside, for a container without a network; reads a picture from stdin, if there is one.
ASK = """
import sys, urllib.error, urllib.request
body = sys.stdin.buffer.read() or None
request = urllib.request.Request("http://127.0.0.1:8000" + sys.argv[1], body, {"Content-Type": "image/jpeg"})
try:
    response = urllib.request.urlopen(request, timeout=30)
except urllib.error.HTTPError as error:
    response = error
sys.stdout.buffer.write(b"%d\\n" % response.status + response.read())
"""
CAT = (servers.ROOT / "docs" / "cat.jpg").read_bytes()


def ask(container, path, body=b""):
    status, _, answer = container.run("python", "-c", ASK, path, input=body).stdout.partition(b"\n")
    return int(status), answer


def wait_until_ready(container, seconds=60):
    deadline = time.monotonic() + seconds
    while container.run("python", "-m", "services.inference.healthcheck", check=False).returncode:
        assert time.monotonic() < deadline, container.logs()


@pytest.fixture(scope="module")
def alone(inference):
    """The service without any network."""
    with engine.container(inference, "--network=none") as container:
        wait_until_ready(container)
        yield container


def test_it_needs_no_network(alone):
    assert ask(alone, "/health") == (200, b'{"status":"alive"}\n')
    manifest = json.loads((servers.ROOT / "models" / "champion" / "manifest.json").read_text())
    status, answer = ask(alone, "/ready")
    assert status == 200
    assert json.loads(answer)["model"]["version"] == manifest["version"]
    status, answer = ask(alone, "/predict", CAT)
    assert (status, json.loads(answer)["label"]) == (200, "cat")
    status, answer = ask(alone, "/metrics")
    assert status == 200
    assert b'request_count_total{endpoint="/predict",method="POST",status="200"} 1.0\n' in answer


def test_it_runs_without_root_and_writes_to_its_volumes_only(alone):
    assert alone.run("id", "-u").stdout == b"10001\n"
    assert alone.run("touch", "/app/new", check=False).returncode != 0
    assert b"\nCapEff:\t" + b"0" * 16 + b"\n" in alone.run("cat", "/proc/1/status").stdout
    errors = [line for line in alone.logs().splitlines() if '"level": "INFO"' not in line]
    assert errors == []


def test_the_health_check_tells_the_living_from_the_dead(inference, alone):
    assert engine.inspect(inference.name)["Healthcheck"]["Test"][0] == "CMD"
    assert engine.podman("healthcheck", "run", alone.name).returncode == 0
    with engine.container(inference, "--network=none", command=("sleep", "60")) as idle:
        assert engine.podman("healthcheck", "run", idle.name, check=False).returncode == 1


def test_whoever_is_outside_gets_the_page_and_an_answer(inference):
    port = servers.free_port()
    with engine.container(inference, f"--publish=127.0.0.1:{port}:8000") as container:
        wait_until_ready(container)
        address = f"http://127.0.0.1:{port}"
        page = requests.get(f"{address}/", timeout=30)
        assert page.status_code == 200
        for path in ("/static/page.js", "/docs", "/openapi.json"):
            assert requests.get(address + path, timeout=30).status_code == 200, path
        answer = requests.post(f"{address}/predict", files={"file": CAT}, timeout=30)
        assert answer.json()["label"] == "cat"


def test_it_stops_when_told_to(inference):
    with engine.container(inference, "--network=none") as container:
        wait_until_ready(container)
        engine.podman("stop", "--time=30", container.name)
        assert engine.inspect(container.name)["State"]["ExitCode"] == 0, container.logs()


def test_a_wrong_setting_is_one_sentence(inference):
    with engine.container(inference, "--network=none", "--env=WORKERS=many") as container:
        engine.podman("wait", container.name)
        assert container.logs() == "WORKERS is 'many', but must be a whole number from 1 to 256.\n"

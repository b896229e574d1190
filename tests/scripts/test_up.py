"""``make up`` with its real programs."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import psutil
import pytest
import requests
from mlflow import MlflowClient

from scripts.up import supervisor
from scripts.up.programs import inference
from scripts.up.settings import Settings
from tests import bundles, prometheus, servers
from tests.scripts.launching import launched


def test_everything_starts_follows_the_bundle_and_ends(tmp_path):
    """One long test, because the start of the real programs takes most of the time."""
    # csh and some zsh set HOST to the name of the machine.
    with launched(tmp_path, MONITOR_INTERVAL=3, WORKERS=2, HOST="my-laptop") as up:
        up.wait_for("Ctrl-C stops everything.")
        up_since = time.monotonic()
        assert f": {up.service}\n" in up.printed and f": {up.mlflow}\n" in up.printed
        assert "NO MODEL IS SERVED" in up.printed
        up.wait_for("monitor: something is wrong (exit code 1)")
        lines = (tmp_path / "state" / "logs" / "monitor.log").read_text().splitlines()
        assert "HTTP 503" in json.loads(lines[0])["problems"][0]
        if shutil.which("prometheus"):
            address = f"http://127.0.0.1:{up.env['PROMETHEUS_PORT']}"
            prometheus.wait_until(address, 'up{job="mlops-service"} == 1')
            (found,) = prometheus.query(address, 'up{job="mlops-service"}')
            assert found["metric"]["instance"] == urlsplit(up.service).netloc
        else:
            assert "not on the PATH" in up.printed

        for version in ("1", "2"):
            bundles.write(tmp_path / "bundle", name="colours", version=version)
            until(lambda version=version: ready(up.service) == version)
        assert "has changed: the service loads it" in up.printed
        up.wait_for("monitor: the service is healthy")
        until(lambda: results(up.mlflow)[0].data.params.get("model_version") == "2")
        assert results(up.mlflow)[0].data.metrics["post_deploy_predict_success"] == 1

        # A server that ends soon after its start is not started again.
        time.sleep(max(0, supervisor.SHORT_LIFE + 2 - (time.monotonic() - up_since)))
        (gunicorn,) = (p for p in psutil.Process(up.process.pid).children() if "gunicorn" in p.cmdline())
        os.kill(gunicorn.pid, signal.SIGKILL)
        up.wait_for("inference ended (exit code -9) and is started again")
        until(lambda: ready(up.service) == "2")

        assert len(up.left()) > 4
        assert up.end(signal.SIGINT) == 0
        assert up.printed.endswith("Everything is stopped.\n")
        assert "Traceback" not in up.printed
        assert up.left() == []
    # The next start finds the results and the runs.
    assert (tmp_path / "state" / "mlflow" / "mlflow.db").exists()


def results(address):
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("post-deploy-monitoring")
    return client.search_runs([experiment.experiment_id], "status = 'FINISHED'", order_by=["start_time DESC"])


def ready(service):
    try:
        return requests.get(f"{service}/ready", timeout=5).json().get("model", {}).get("version")
    except requests.RequestException:
        return None


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "closed-terminal"])
def test_signal_while_it_starts_leaves_nothing(tmp_path, number):
    with launched(tmp_path) as up:
        up.wait_for("Starting")
        until(lambda: len(up.left()) > 2)
        assert up.end(number) == 0
        assert "Traceback" not in up.printed
        assert up.left() == []


@pytest.mark.parametrize("setting", ["PORT", "MLFLOW_PORT"])
def test_taken_port_is_named_with_its_setting(tmp_path, setting):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with launched(tmp_path, **{setting: port}) as up:
            assert up.wait() == 1
            assert f"Port {port}" in up.printed and f"choose another port: {setting}=" in up.printed
    assert not (tmp_path / "state" / "logs").exists()


@pytest.mark.parametrize(("taken", "host"), [("127.0.0.2", "127.0.0.2"), ("127.0.0.2", "0.0.0.0")])
def test_port_of_mlflow_is_looked_up_at_its_host(tmp_path, taken, host):
    with socket.create_server((taken, 0)) as listener:
        port = listener.getsockname()[1]
        with launched(tmp_path, "--only", "mlflow", MLFLOW_PORT=port, MLFLOW_HOST=host) as up:
            assert up.wait() == 1
            assert f"Port {port}" in up.printed and "choose another port: MLFLOW_PORT=" in up.printed


def test_mlflow_answers_at_its_host_while_its_port_is_taken_elsewhere(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with launched(tmp_path, "--only", "mlflow", MLFLOW_PORT=port, MLFLOW_HOST="127.0.0.2") as up:
            up.wait_for("Ctrl-C stops everything.")
            assert f": http://127.0.0.2:{port}\n" in up.printed
            assert MlflowClient(f"http://127.0.0.2:{port}").search_experiments()


def test_program_that_ends_at_its_start_shows_its_log_and_ends_all(tmp_path):
    with launched(tmp_path, WORKERS="many") as up:
        assert up.wait() == 1
        assert "inference ended soon after its start (exit code 1)" in up.printed
        assert "WORKERS" in up.printed and "Traceback" not in up.printed
        assert up.left() == []


@pytest.mark.parametrize("arguments", [(), ("--only", "mlflow", "--", "true")])
def test_state_folder_that_cannot_be_written_is_one_sentence(tmp_path, arguments):
    (tmp_path / "state").write_text("in the way, even of root")
    with launched(tmp_path, *arguments) as up:
        assert up.wait() == 1
        assert "set STATE_DIR to" in up.printed and len(up.printed.splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"PORT": "http"}, "PORT is 'http'"),
        ({"MLFLOW_PORT": "70000"}, "MLFLOW_PORT is '70000'"),
        ({"MLFLOW_HOST": "192.0.2.1"}, "MLFLOW_HOST is '192.0.2.1'"),
        ({"PORT": "7001", "MLFLOW_PORT": "7001"}, "Port 7001"),
        ({"MONITOR_INTERVAL": "0"}, "MONITOR_INTERVAL is '0'"),
    ],
)
def test_wrong_setting_is_one_sentence(tmp_path, settings, sentence):
    with launched(tmp_path, **settings) as up:
        assert up.wait() in (1, 2)
        assert up.printed.startswith(sentence) and len(up.printed.splitlines()) == 1


@pytest.mark.parametrize(("given", "taken"), [("", "127.0.0.1"), ("my-laptop", "127.0.0.1"), ("0.0.0.0", "0.0.0.0")])
def test_host_is_an_address_that_the_launcher_reaches(monkeypatch, given, taken):
    monkeypatch.setenv("HOST", given)
    assert inference(Settings()).environment["HOST"] == taken


def test_commands_find_mlflow_at_its_port():
    env = servers.environment() | {"MLFLOW_PORT": str(servers.free_port())}
    command = [sys.executable, "-m", "ml.registry", "list"]
    done = subprocess.run(command, cwd=servers.ROOT, env=env, capture_output=True, text=True)
    assert f"127.0.0.1:{env['MLFLOW_PORT']} does not answer" in done.stdout + done.stderr

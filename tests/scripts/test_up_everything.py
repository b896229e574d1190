"""``make up``'s launcher with all its real parts."""

import json
import os
import re
import shutil
import signal
import socket
import time

import pytest
import requests
from mlflow import MlflowClient

from scripts.up import services
from scripts.up.settings import from_environment
from scripts.up.supervisor import SHORT_LIFE
from tests import bundles
from tests.scripts.launching import environment, launched


def test_everything_comes_up_stays_up_and_goes_down(tmp_path):
    """One long test, because the start of the real parts is what takes the time."""
    bundles.write(tmp_path / "bundle", name="colours", version="1")
    env = environment(tmp_path, MONITOR_INTERVAL=6, WORKERS=2)
    service, mlflow = (f"http://127.0.0.1:{env[name]}" for name in ("PORT", "MLFLOW_PORT"))
    with launched(tmp_path, env) as up:
        up.wait_for("Ctrl-C stops everything.")
        up_since = time.monotonic()
        assert f"{service}  " in up.printed and "serves colours 1" in up.printed
        assert requests.get(f"{service}/health", timeout=5).status_code == 200

        up.wait_for("monitor: the service is healthy")
        first = results(mlflow)[-1]
        assert first.data.params == {"model_name": "colours", "model_version": "1"}
        assert first.data.metrics["post_deploy_predict_success"] == 1

        if shutil.which("prometheus"):
            assert scraped(f"http://127.0.0.1:{env['PROMETHEUS_PORT']}", service)
        else:
            assert "not on the PATH" in up.printed

        bundles.write(tmp_path / "bundle", name="colours", version="2")
        up.wait_for("has changed: the service loads it")
        until(lambda: ready(service) == "2")
        until(lambda: results(mlflow)[0].data.params.get("model_version") == "2")

        # Not right after the start, when an end would mean that something is wrong for good.
        time.sleep(max(0, SHORT_LIFE + 2 - (time.monotonic() - up_since)))
        (gunicorn,) = (c for c in up.children() if c.parent == up.process.pid and "gunicorn" in c.command)
        os.kill(gunicorn.pid, signal.SIGKILL)
        up.wait_for("inference ended (exit code -9) and is started again")
        until(lambda: ready(service) == "2")

        assert len(up.children()) > 4
        assert up.end(signal.SIGINT) == 0
        assert up.printed.endswith("Everything is stopped.\n")
        assert "Traceback" not in up.printed
    assert up.left() == []
    # The results and the runs are for the next time.
    assert (tmp_path / "state" / "mlflow" / "mlflow.db").exists()


def results(mlflow):
    client = MlflowClient(mlflow)
    experiment = client.get_experiment_by_name("post-deploy-monitoring")
    # One that is not finished is being written.
    return client.search_runs([experiment.experiment_id], "status = 'FINISHED'", order_by=["start_time DESC"])


def ready(service):
    try:
        return requests.get(f"{service}/ready", timeout=5).json().get("model", {}).get("version")
    except requests.RequestException:
        return None


def scraped(prometheus, service):
    """Wait until Prometheus has the service's own numbers."""

    def found():
        query = {"query": 'up{job="mlops-service"} == 1'}
        return requests.get(f"{prometheus}/api/v1/query", query, timeout=5).json()["data"]["result"]

    until(found)
    return found()[0]["metric"]["instance"] == service.removeprefix("http://")


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "closed-terminal"])
def test_ended_while_it_starts_it_leaves_nothing(tmp_path, number):
    with launched(tmp_path, environment(tmp_path)) as up:
        up.wait_for("inference is up")
        assert up.end(number) == 0
        assert "Traceback" not in up.printed
    assert up.left() == []


@pytest.mark.parametrize(
    ("given", "taken"), [("", "127.0.0.1"), ("my-laptop", "127.0.0.1"), ("0.0.0.0", "0.0.0.0"), ("::", "::")]
)
def test_the_service_listens_where_the_launcher_can_ask_it(given, taken):
    part = services.inference(from_environment({"HOST": given}))
    assert part.environment["HOST"] == taken


def test_without_a_model_it_is_up_and_says_so(tmp_path):
    # As csh and some zsh set it; gunicorn alone would listen there, or not at all.
    env = environment(tmp_path, HOST="my-laptop")
    with launched(tmp_path, env) as up:
        up.wait_for("Ctrl-C stops everything.")
        assert "NO MODEL IS SERVED" in up.printed and "manifest.json" in up.printed
        up.wait_for("monitor: something is wrong (exit code 1)")
        line = json.loads((tmp_path / "state" / "logs" / "monitor.log").read_text())
        assert "HTTP 503" in line["problems"][0]
        assert up.end() == 0


def test_taken_ports_are_named_with_their_settings_and_nothing_starts(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        env = environment(tmp_path, PORT=one.getsockname()[1], MLFLOW_PORT=two.getsockname()[1])
        with launched(tmp_path, env) as up:
            assert up.wait(30) == 1
            for setting in ("PORT", "MLFLOW_PORT"):
                assert f"Port {env[setting]}" in up.printed
                suggested = re.search(rf"choose another port: {setting}=(\d+)", up.printed)
                # The next one, so that it is the same tomorrow; a few may be taken too.
                assert suggested and 0 < int(suggested[1]) - int(env[setting]) < 50
                socket.create_server(("127.0.0.1", int(suggested[1]))).close()
    assert not (tmp_path / "state" / "logs").exists()


def test_a_part_that_dies_at_the_start_shows_its_last_words_and_ends_all(tmp_path):
    with launched(tmp_path, environment(tmp_path, WORKERS="many")) as up:
        assert up.wait(60) == 1
        assert "inference ended before it answered (exit code 1)" in up.printed
        assert "WORKERS is 'many'" in up.printed
        assert "Traceback" not in up.printed
    assert up.left() == []


@pytest.mark.parametrize("arguments", [(), ("--only", "mlflow"), ("--only", "mlflow", "--", "true")])
def test_a_state_folder_that_cannot_be_written_is_one_sentence(tmp_path, arguments):
    (tmp_path / "state").write_text("in the way, even of root")
    with launched(tmp_path, environment(tmp_path), *arguments) as up:
        assert up.wait(30) == 1
        assert "cannot be used (Not a directory): set STATE_DIR to" in up.printed
        assert len(up.printed.splitlines()) == 1


def test_a_wrong_setting_of_the_monitor_is_shown(tmp_path):
    with launched(tmp_path, environment(tmp_path, MIN_ACCURACY="95")) as up:
        up.wait_for("monitor: nothing was checked (exit code 2): MIN_ACCURACY='95': ")
        assert up.end() == 0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"PORT": "http"}, "PORT is 'http'"),
        ({"MLFLOW_PORT": "70000"}, "MLFLOW_PORT is '70000'"),
        ({"PORT": "7001", "MLFLOW_PORT": "7001"}, "MLFLOW_PORT and PORT are both 7001"),
        ({"MONITOR_INTERVAL": "0"}, "MONITOR_INTERVAL is '0'"),
    ],
)
def test_a_wrong_setting_is_one_sentence(tmp_path, settings, sentence):
    with launched(tmp_path, environment(tmp_path, **settings)) as up:
        assert up.wait(30) == 2
        assert up.printed.startswith(sentence) and len(up.printed.splitlines()) == 1

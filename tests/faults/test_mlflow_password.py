"""MLflow with a password: the monitor and a training run have access with it, and nobody without it."""

import configparser
import json
import os
import subprocess
import sys

import pytest
import requests
from mlflow import MlflowClient

from services.monitor.settings import Settings
from tests import monitor, servers
from tests.services.monitor import stubs

pytestmark = pytest.mark.faults

ADMIN = ("somebody", "a-long-password-of-my-own")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A real MLflow server with its own basic authentication, started as docs/security.md says."""
    folder = tmp_path_factory.mktemp("mlflow")
    auth = configparser.ConfigParser()
    auth["mlflow"] = {
        "default_permission": "NO_PERMISSIONS",
        "database_uri": f"sqlite:///{folder}/auth.db",
        "admin_username": ADMIN[0],
        "admin_password": ADMIN[1],
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
    }
    with (folder / "auth.ini").open("w") as file:
        auth.write(file)
    port = servers.free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "scripts.up", "--only", "mlflow"]
    settings = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "only-for-this-test",  # pragma: allowlist secret
        "MLFLOW_PORT": str(port),
        "STATE_DIR": str(folder),
    }
    log = folder / "server.log"
    with servers.running(command, log, settings) as process:
        servers.wait_for(f"{address}/health", process, log, 120)
        yield address


def credentials(name, password):
    return {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": password}


def check(tmp_path, address, **environment):
    """Run the monitor once against a stub of the service; return its exit code and its line."""
    with stubs.serving(stubs.always(200, stubs.ANSWER)) as service:
        settings = {"PREDICT_URL": service, "MLFLOW_TRACKING_URI": address, "SPOOL_DIR": tmp_path / "spool"}
        done = monitor.run(**settings, **environment)
    assert ADMIN[1] not in done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("login", [None, (ADMIN[0], "wrong"), ("admin", "password1234")])
def test_without_password_nothing_is_read_or_written(guarded, login):
    asked = {"timeout": 30, "auth": login}
    api = f"{guarded}/api/2.0/mlflow"
    assert requests.post(f"{api}/experiments/search", json={"max_results": 5}, **asked).status_code == 401
    assert requests.post(f"{api}/experiments/create", json={"name": "stranger"}, **asked).status_code == 401
    assert requests.get(f"{guarded}/api/2.0/mlflow-artifacts/artifacts", **asked).status_code == 401
    assert requests.get(f"{guarded}/", **asked).status_code == 401


def test_monitor_keeps_its_result_until_the_password_is_right(guarded, tmp_path, monkeypatch):
    code, line = check(tmp_path, guarded)
    assert code == 0
    assert any("401" in note or "credentials" in note for note in line["delivery"]), line["delivery"]
    assert any("1 result(s) wait" in note for note in line["delivery"])
    code, line = check(tmp_path, guarded, **credentials(*ADMIN))
    assert (code, line["delivery"]) == (0, [])
    for name, value in credentials(*ADMIN).items():
        monkeypatch.setenv(name, value)
    client = MlflowClient(guarded)
    experiment = client.get_experiment_by_name(Settings().mlflow_experiment_name)
    assert len(client.search_runs([experiment.experiment_id])) == 2, "the one that waited, and the new one"


def test_artifacts_are_stored_with_the_password(guarded, tmp_path):
    """An experiment, a run and a file in it, as a training run makes them."""
    code = (
        "import mlflow, sys; mlflow.set_experiment('training')\n"
        "with mlflow.start_run() as run: mlflow.log_text('kept', 'note.txt')\n"
        "print(mlflow.artifacts.load_text(f'runs:/{run.info.run_id}/note.txt'))"
    )
    environment = os.environ | {"MLFLOW_TRACKING_URI": guarded} | credentials(*ADMIN)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "kept" in done.stdout

"""The image of the monitor, on the network of a service that has none."""

import json
import shutil

import pytest
from mlflow import MlflowClient

from tests import servers
from tests.images import engine
from tests.images.test_inference import wait_until_ready


@pytest.fixture(scope="module")
def service(inference):
    with engine.container(inference, "--network=none") as container:
        wait_until_ready(container)
        yield container


def check(monitor, *options):
    """Run the job once; its exit code and its line."""
    with engine.container(monitor, *options) as container:
        status = int(engine.podman("wait", container.name).stdout)
        return status, json.loads(engine.podman("logs", container.name).stdout)


def test_it_checks_the_service_and_keeps_what_it_cannot_send(monitor, service, tmp_path):
    spool = tmp_path / "spool"
    spool.mkdir()
    spool.chmod(0o777)
    options = (f"--network=container:{service.name}", "--env=SPOOL_DIR=/spool", f"--volume={spool}:/spool")
    status, line = check(monitor, *options)
    assert (status, line["healthy"], line["metrics"]["post_deploy_predict_success"]) == (0, True, 1)
    assert line["problems"] == []
    (kept,) = spool.glob("*.json")
    assert json.loads(kept.read_text())["result_id"] == line["result_id"]


def test_it_measures_the_accuracy_and_mlflow_has_it(inference, monitor, mlflow_address, tmp_path):
    shutil.copyfile(servers.ROOT / "docs" / "cat.jpg", tmp_path / "cat__chelsea.jpg")
    tmp_path.chmod(0o755)
    (tmp_path / "cat__chelsea.jpg").chmod(0o644)
    port = servers.free_port()
    with engine.container(inference, "--network=host", f"--env=PORT={port}") as service:
        wait_until_ready(service)
        settings = {
            "PREDICT_URL": f"http://127.0.0.1:{port}",
            "MLFLOW_TRACKING_URI": mlflow_address,
            "MLFLOW_EXPERIMENT_NAME": "from-an-image",
            "SPOOL_DIR": "/tmp/spool",
            "LABELLED_IMAGES": "/labelled",
        }
        environment = [f"--env={name}={value}" for name, value in settings.items()]
        status, line = check(monitor, "--network=host", f"--volume={tmp_path}:/labelled:ro", *environment)
    assert (status, line["delivery"]) == (0, []), line
    client = MlflowClient(mlflow_address)
    (run,) = client.search_runs([client.get_experiment_by_name("from-an-image").experiment_id])
    assert run.data.metrics["post_deploy_accuracy"] == 1


def test_without_a_service_it_says_so_and_fails(monitor):
    status, line = check(monitor, "--network=none", "--env=SPOOL_DIR=/tmp/spool")
    assert (status, line["healthy"]) == (1, False)
    assert "cannot be reached" in line["problems"][0]

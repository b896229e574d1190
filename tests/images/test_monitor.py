"""The image of the monitor."""

import json
import shutil

from mlflow import MlflowClient

from tests import servers
from tests.images import engine


def check(monitor, *options):
    """Run the job once, and return its exit code and its line."""
    with engine.container(monitor, *options) as container:
        status = int(engine.podman("wait", container.name).stdout)
        return status, json.loads(engine.podman("logs", container.name).stdout)


def test_monitor_sends_the_accuracy_to_mlflow(inference, monitor, mlflow_address, tmp_path):
    shutil.copyfile(servers.ROOT / "docs" / "cat.jpg", tmp_path / "cat__chelsea.jpg")
    tmp_path.chmod(0o755)
    (tmp_path / "cat__chelsea.jpg").chmod(0o644)
    port = servers.free_port()
    with engine.container(inference, "--network=host", f"--env=PORT={port}") as service:
        service.wait_until_ready(port)
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


def test_monitor_offline_fails_and_keeps_the_result(monitor, tmp_path):
    spool = tmp_path / "spool"
    spool.mkdir()
    spool.chmod(0o777)
    status, line = check(monitor, "--network=none", "--env=SPOOL_DIR=/spool", f"--volume={spool}:/spool")
    assert (status, line["healthy"], line["metrics"]["post_deploy_predict_success"]) == (1, False, 0)
    (kept,) = spool.glob("*.json")
    assert json.loads(kept.read_text())["result_id"] == line["result_id"]

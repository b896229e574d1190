"""The job as it is run: a process, a real gunicorn with a real bundle, a real MLflow server."""

import contextlib
import json
import subprocess
import sys
import uuid

import pytest
import requests
from mlflow import MlflowClient
from PIL import Image

from services.monitor.settings import Settings
from tests import bundles, monitor, servers
from tests.prometheus import pushgateway


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """The address of the real service, with two workers."""
    folder = tmp_path_factory.mktemp("service")
    bundles.write(folder / "bundle", name="colours", version="3")
    with serving(folder, WORKERS="2") as address:
        yield address


@contextlib.contextmanager
def serving(folder, **settings):
    """The real service with the bundle of that folder."""
    port = servers.free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "gunicorn", "-c", "services/inference/gunicorn.conf.py"]
    environment = {"PORT": str(port), "MODEL_DIR": str(folder / "bundle")} | settings
    log = folder / "gunicorn.log"
    with servers.running([*command, "services.inference.app:create_app()"], log, environment) as process:
        servers.wait_for(f"{address}/ready", process, log)
        yield address


@pytest.fixture
def labelled(tmp_path):
    """Two pictures of each colour; one of the reds is labelled blue."""
    folder = tmp_path / "labelled"
    (folder / "Red").mkdir(parents=True)
    Image.new("RGB", (80, 60), "red").save(folder / "Red" / "1.jpg")
    Image.new("RGB", (60, 80), "red").save(folder / "blue__wrong.png")
    for label, colour in (("green", "lime"), ("blue", "blue")):
        Image.new("RGB", (80, 60), colour).save(folder / f"{label}__1.jpg")
        Image.new("RGB", (80, 60), colour).save(folder / f"{label}__2.webp")
    return folder


def run(tmp_path, *arguments, **settings):
    return monitor.run(*arguments, **{"SPOOL_DIR": tmp_path / "spool", **settings})


def test_accuracy_of_the_real_service_is_read_back_from_mlflow(tmp_path, service, mlflow_address, labelled):
    experiment = uuid.uuid4().hex
    settings = {
        "PREDICT_URL": service,
        "MLFLOW_TRACKING_URI": mlflow_address,
        "MLFLOW_EXPERIMENT_NAME": experiment,
        "LABELLED_IMAGES": labelled,
    }
    done = run(tmp_path, **settings)
    assert (done.returncode, done.stderr) == (0, "")
    line = json.loads(done.stdout)
    assert line["delivery"] == []
    strict = run(tmp_path, **settings, MIN_ACCURACY=0.9)
    assert strict.returncode == 1
    client = MlflowClient(mlflow_address)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id], order_by=["start_time"])
    assert [one.data.tags["healthy"] for one in found] == ["true", "false"]
    for one in found:
        assert one.data.params == {"model_name": "colours", "model_version": "3"}
        metrics = one.data.metrics
        assert metrics["post_deploy_accuracy"] == pytest.approx(5 / 6)
        assert metrics["post_deploy_recall_red"] == 1
        assert metrics["post_deploy_recall_blue"] == pytest.approx(2 / 3)
        assert metrics["post_deploy_failures"] == 0
        assert metrics["post_deploy_latency_p95_ms"] > 0
    assert {one.data.tags["result_id"] for one in found} >= {line["result_id"]}


def test_the_real_service_answers_the_drawn_picture(tmp_path, service, mlflow_address):
    done = run(tmp_path, PREDICT_URL=service, MLFLOW_TRACKING_URI=mlflow_address)
    assert done.returncode == 0
    assert json.loads(done.stdout)["metrics"]["post_deploy_predict_success"] == 1
    client = MlflowClient(mlflow_address)
    assert client.get_experiment_by_name("post-deploy-monitoring")


def test_mlflow_and_the_pushgateway_get_their_result_without_each_other(tmp_path, service, mlflow_address):
    nowhere = f"http://127.0.0.1:{servers.free_port()}"
    experiment = {"MLFLOW_EXPERIMENT_NAME": uuid.uuid4().hex, "PREDICT_URL": service}
    done = run(tmp_path, **experiment, MLFLOW_TRACKING_URI=mlflow_address, PUSHGATEWAY_URL=nowhere)
    (note,) = json.loads(done.stdout)["delivery"]
    assert done.returncode == 0 and f"Pushgateway at {nowhere} cannot be reached" in note
    client = MlflowClient(mlflow_address)
    assert client.get_experiment_by_name(experiment["MLFLOW_EXPERIMENT_NAME"])
    with pushgateway(tmp_path) as address:
        done = run(tmp_path, **experiment, MLFLOW_TRACKING_URI=nowhere, PUSHGATEWAY_URL=address)
        assert done.returncode == 0 and "1 result(s) wait" in json.loads(done.stdout)["delivery"][1]
        # Not even a result that is lost to MLflow is lost to the alerts.
        (tmp_path / "file").write_text("")
        lost = {"MLFLOW_TRACKING_URI": nowhere, "SPOOL_DIR": tmp_path / "file" / "spool", "PREDICT_URL": nowhere}
        before = requests.get(f"{address}/metrics", timeout=10).text
        assert run(tmp_path, **lost, PUSHGATEWAY_URL=address).returncode == 3
        after = requests.get(f"{address}/metrics", timeout=10).text
    healthy = 'post_deploy_healthy{instance="",job="post-deploy-accuracy"}'
    assert f"{healthy} 1\n" in before and f"{healthy} 0\n" in after
    assert 'post_deploy_info{instance="",job="post-deploy-accuracy",model_name="colours",model_version="3"} 1' in before


def test_a_service_that_wants_a_key_gets_it_and_nobody_reads_it(tmp_path):
    key = "monitors-own-0123456789abcdef"
    (tmp_path / "keys").write_text(f"monitor:{key}\n")
    (tmp_path / "key").write_text(f"{key}\n")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    bundles.write(tmp_path / "bundle", name="colours", version="3")
    offline = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{servers.free_port()}", "NETRC": tmp_path / "netrc"}
    with serving(tmp_path, API_KEYS_FILE=str(tmp_path / "keys"), WORKERS="1") as address:
        without = run(tmp_path, PREDICT_URL=address, **offline)
        done = run(tmp_path, PREDICT_URL=address, PREDICT_API_KEY_FILE=tmp_path / "key", **offline)
    assert (without.returncode, "HTTP 401: Send an API key" in without.stdout) == (1, True)
    assert done.returncode == 0, done.stdout
    assert key not in done.stdout + done.stderr + (tmp_path / "gunicorn.log").read_text()


@pytest.mark.parametrize(("text", "words"), [(None, "cannot be read"), ("two keys", "one key"), ("", "one key")])
def test_a_key_file_that_holds_no_key_is_named_and_not_quoted(tmp_path, text, words):
    if text is not None:
        (tmp_path / "key").write_text(text)
    done = run(tmp_path, PREDICT_API_KEY_FILE=tmp_path / "key")
    assert done.returncode == 2
    assert done.stderr.startswith(f"PREDICT_API_KEY_FILE='{tmp_path}/key': ")
    assert words in done.stderr and "two keys" not in done.stderr


def test_passwords_in_addresses_are_not_written(tmp_path):
    nowhere = f"http://user:hush@127.0.0.1:{servers.free_port()}"  # pragma: allowlist secret
    done = run(tmp_path, PREDICT_URL=nowhere, MLFLOW_TRACKING_URI=nowhere, PUSHGATEWAY_URL=nowhere)
    assert "hush" not in done.stdout + done.stderr
    assert done.stdout.count(nowhere.replace("user:hush", "***")) >= 4
    assert not [path for path in (tmp_path / "spool").iterdir() if "hush" in path.read_text()]
    wrong = run(tmp_path, PUSHGATEWAY_URL="user:hush@127.0.0.1:9091")
    assert wrong.returncode == 2 and wrong.stderr.startswith("PUSHGATEWAY_URL='***@127.0.0.1:9091': ")


def test_everything_down_is_unhealthy_and_kept(tmp_path):
    nowhere = f"http://127.0.0.1:{servers.free_port()}"
    done = run(tmp_path, PREDICT_URL=nowhere, MLFLOW_TRACKING_URI=nowhere)
    assert (done.returncode, done.stderr) == (1, "")
    line = json.loads(done.stdout)
    (kept,) = (tmp_path / "spool").glob("*.json")
    assert json.loads(kept.read_text())["result_id"] == line["result_id"]


def test_a_lost_result_is_printed_and_has_its_own_exit_code(tmp_path):
    (tmp_path / "file").write_text("")
    nowhere = f"http://127.0.0.1:{servers.free_port()}"
    done = run(tmp_path, PREDICT_URL=nowhere, MLFLOW_TRACKING_URI=nowhere, SPOOL_DIR=tmp_path / "file" / "spool")
    assert done.returncode == 3
    line = json.loads(done.stdout)
    assert line["metrics"]["post_deploy_predict_success"] == 0
    assert "lost but for this line" in line["delivery"][0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PREDICT_URL", "localhost:8000"),
        ("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db"),
        ("MIN_ACCURACY", "95"),
        ("MIN_ACCURACY", "nan"),
        ("PUSHGATEWAY_URL", "pushgateway:9091"),
        ("PUSHGATEWAY_TIMEOUT", "0"),
        ("CHECK_TIMEOUT", "soon"),
        ("CHECK_TIMEOUT", "inf"),
        ("CHECK_TIMEOUT", "1e-9"),
        ("PREDICT_TIMEOUT", "1e300"),
        ("TRACKING_TIMEOUT", "nan"),
        ("LABELLED_IMAGES", "/nowhere/at/all"),
        ("LABELLED_IMAGES", "x" * 300),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_meaning(tmp_path, name, value):
    done = run(tmp_path, **{name: value})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{name}='{value}': ")
    assert len(done.stderr.splitlines()) == 1


def test_help_names_every_setting_and_exit_code(tmp_path):
    text = run(tmp_path, "--help").stdout
    assert all(name.upper() in text for name in Settings.model_fields)
    assert "post-deploy-monitoring" in text and "3  the result could neither" in text


def test_the_job_runs_without_the_serving_and_training_packages(tmp_path):
    """Its image has neither: importing them must fail without anything else failing."""
    code = (
        "import sys\n"
        "for name in ('services.inference', 'ml', 'torch', 'PIL', 'numpy', 'flask', 'onnxruntime'):\n"
        "    sys.modules[name] = None\n"
        "import services.monitor.__main__\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=servers.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

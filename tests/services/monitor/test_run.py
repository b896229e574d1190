"""The job with a real gunicorn and bundle, a real MLflow server and a real Pushgateway."""

import contextlib
import json
import re
import subprocess
import sys
import uuid

import pytest
import requests
from mlflow import MlflowClient
from PIL import Image

from services.monitor import __main__ as job
from tests import bundles, monitor, servers
from tests.prometheus import pushgateway
from tests.services.inference.serving import service as serving

PATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": 60, "TRACKING_TIMEOUT": 120}  # for a busy machine


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """The address of the real service, with a bundle that knows colours."""
    folder = tmp_path_factory.mktemp("service")
    with serving(folder, MODEL_DIR=bundles.write(folder / "bundle", name="colours", version="3")) as running:
        yield running.address


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the job in this process, and return its exit code and what it printed."""

    def run(**settings):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["services.monitor"])
            for name, value in (PATIENT | {"SPOOL_DIR": tmp_path / "spool"} | settings).items():
                patch.setenv(name, str(value))
            status = job.main()
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def labelled(tmp_path):
    """Two images of each colour; one of the red ones is labelled blue."""
    folder = tmp_path / "labelled"
    (folder / "Red").mkdir(parents=True)
    Image.new("RGB", (80, 60), "red").save(folder / "Red" / "1.jpg")
    Image.new("RGB", (60, 80), "red").save(folder / "blue__wrong.png")
    for label, colour in (("green", "lime"), ("blue", "blue")):
        Image.new("RGB", (80, 60), colour).save(folder / f"{label}__1.jpg")
        Image.new("RGB", (80, 60), colour).save(folder / f"{label}__2.webp")
    return folder


def test_job_accuracy_of_the_real_service_is_in_mlflow(tmp_path, service, mlflow_address, labelled):
    experiment = uuid.uuid4().hex
    settings = PATIENT | {
        "PREDICT_URL": service,
        "MLFLOW_TRACKING_URI": mlflow_address,
        "MLFLOW_EXPERIMENT_NAME": experiment,
        "LABELLED_IMAGES": labelled,
        "SPOOL_DIR": tmp_path / "spool",
    }
    done = monitor.run(**settings)
    assert (done.returncode, done.stderr) == (0, "")
    line = json.loads(done.stdout)
    assert line["delivery"] == []
    assert monitor.run(**settings, MIN_ACCURACY=0.9).returncode == 1
    client = MlflowClient(mlflow_address)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id], order_by=["start_time"])
    assert [one.data.tags["healthy"] for one in found] == ["true", "false"]
    for one in found:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d 3", one.info.run_name)
        assert one.data.params == {"model_name": "colours", "model_version": "3"}
        metrics = one.data.metrics
        assert metrics["post_deploy_accuracy"] == pytest.approx(5 / 6)
        assert metrics["post_deploy_recall_red"] == 1
        assert metrics["post_deploy_recall_blue"] == pytest.approx(2 / 3)
        assert metrics["post_deploy_failures"] == 0
        assert metrics["post_deploy_latency_p95_ms"] > 0
    assert {one.data.tags["result_id"] for one in found} >= {line["result_id"]}


def test_job_mlflow_and_pushgateway_do_not_depend_on_each_other(run, tmp_path, service, mlflow_address, nowhere):
    status, out, _ = run(PREDICT_URL=service, MLFLOW_TRACKING_URI=mlflow_address, PUSHGATEWAY_URL=nowhere)
    line = json.loads(out)
    assert (status, line["metrics"]["post_deploy_predict_success"], len(line["delivery"])) == (0, 1, 1)
    assert MlflowClient(mlflow_address).get_experiment_by_name("post-deploy-monitoring")
    with pushgateway(tmp_path) as address:
        settings = {"MLFLOW_TRACKING_URI": nowhere, "PUSHGATEWAY_URL": address}
        status, out, _ = run(PREDICT_URL=service, **settings)
        assert status == 0 and "1 result(s) wait" in json.loads(out)["delivery"][1]
        before = requests.get(f"{address}/metrics", timeout=10).text
        # A result that is lost to MLflow still reaches the alerts.
        (tmp_path / "file").write_text("")
        status, out, _ = run(PREDICT_URL=nowhere, SPOOL_DIR=tmp_path / "file" / "spool", **settings)
        assert status == 3 and json.loads(out)["metrics"]["post_deploy_predict_success"] == 0
        after = requests.get(f"{address}/metrics", timeout=10).text
    group = 'instance="",job="post-deploy-accuracy"'
    assert f"post_deploy_healthy{{{group}}} 1\n" in before and f"post_deploy_healthy{{{group}}} 0\n" in after
    assert f'post_deploy_info{{{group},model_name="colours",model_version="3"}} 1' in before


def test_job_api_key_is_sent_and_never_printed(run, tmp_path, nowhere):
    key = "monitors-own-0123456789abcdef"
    (tmp_path / "keys").write_text(f"monitor:{key}\n")
    (tmp_path / "key").write_text(f"{key}\n")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    bundle = bundles.write(tmp_path / "bundle")
    offline = {"MLFLOW_TRACKING_URI": nowhere, "NETRC": tmp_path / "netrc"}
    with serving(tmp_path, MODEL_DIR=bundle, API_KEYS_FILE=tmp_path / "keys", WORKERS=1) as running:
        status, out, _ = run(PREDICT_URL=running.address, **offline)
        assert status == 1 and "HTTP 401" in out
        status, out, err = run(PREDICT_URL=running.address, PREDICT_API_KEY_FILE=tmp_path / "key", **offline)
        assert status == 0, out
    assert key not in out + err + running.log.read_text()


def test_job_everything_down_masks_passwords_and_keeps_the_result(run, tmp_path, nowhere):
    secret = nowhere.replace("//", "//user:hush@")  # pragma: allowlist secret
    status, out, err = run(PREDICT_URL=secret, MLFLOW_TRACKING_URI=secret, PUSHGATEWAY_URL=secret)
    assert (status, err) == (1, "")
    assert out.count(nowhere.replace("//", "//***@")) >= 4
    (kept,) = (tmp_path / "spool").glob("*.json")
    assert json.loads(kept.read_text())["result_id"] == json.loads(out)["result_id"]
    assert "hush" not in out + kept.read_text()


@pytest.fixture
def proxy(nowhere, monkeypatch):
    """Return the address of a proxy that does not answer, and undo what the job sets."""
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return nowhere.replace("//", "//user:hush@")


def test_job_proxy_is_bypassed_for_this_machine_and_named_for_others(run, tmp_path, service, mlflow_address, proxy):
    with pushgateway(tmp_path) as address:
        settings = {"MLFLOW_TRACKING_URI": mlflow_address, "PUSHGATEWAY_URL": address}
        status, out, _ = run(PREDICT_URL=service, HTTP_PROXY=proxy, **settings)
    assert (status, json.loads(out)["delivery"]) == (0, [])
    far = "http://service.example:8000"
    settings = {"MLFLOW_TRACKING_URI": far, "PUSHGATEWAY_URL": far}
    status, out, _ = run(PREDICT_URL=far, HTTP_PROXY=proxy, **settings)
    line = json.loads(out)
    for text in (line["problems"][0], line["delivery"][0], line["delivery"][-1]):
        assert f"through the proxy {proxy.replace('user:hush', '***')} (NO_PROXY makes exceptions)" in text
    assert status == 1 and "hush" not in out


def test_job_wrong_setting_ends_it_with_status_2(run):
    status, out, err = run(CHECK_TIMEOUT="soon")
    assert (status, out) == (2, "") and err.startswith("CHECK_TIMEOUT='soon': ") and err.count("\n") == 1


def test_job_help_has_the_exit_codes(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["services.monitor", "--help"])
    with contextlib.suppress(SystemExit):
        job.main()
    assert job.EXIT_CODES in capsys.readouterr().out


def test_job_imports_no_serving_and_training_packages():
    code = (
        "import sys\n"
        "for name in ('services.inference', 'ml', 'torch', 'PIL', 'numpy', 'flask', 'onnxruntime'):\n"
        "    sys.modules[name] = None\n"
        "import services.monitor.__main__\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=servers.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

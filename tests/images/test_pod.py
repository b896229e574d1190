"""The pods of the rendered overlay, with the security context and limits of a cluster."""

import contextlib
import copy
import http.client
import io
import itertools
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import yaml
from PIL import Image

from tests import bundles, servers
from tests.images import engine
from tests.images.test_inference import CAT
from tests.kustomize import manifests

ATTACKERS = 24


@contextlib.contextmanager
def play(name, spec, images, tmp_path):
    """Run a pod with one container until the block ends, with images in the place of those of their names."""
    for container in spec.get("initContainers", []) + spec["containers"]:
        (container["image"],) = (image.name for image in images if f"/{image.target}:" in container["image"])
    name = f"{name}-{servers.free_port()}"
    file = tmp_path / "pod.yaml"
    # podman 4.3 would start an init container again that ended well.
    spec["restartPolicy"] = "Never"
    # All its pods share volumes of one name.
    volumes = {volume["name"]: f"{name}-{volume['name']}" for volume in spec["volumes"]}
    for named in (*spec["volumes"], *itertools.chain(*manifests.values(spec, "volumeMounts"))):
        named["name"] = volumes[named["name"]]
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}))
    try:
        engine.podman("kube", "play", "--no-hosts", str(file))
        yield engine.Container(f"{name}-{spec['containers'][0]['name']}")
    finally:
        engine.podman("pod", "rm", "--force", "--time=0", name)
        engine.podman("volume", "rm", "--force", *volumes.values(), check=False)


@pytest.fixture(scope="module")
def workload():
    return manifests.workload(manifests.render(manifests.MINIKUBE), "mlops-service")


@pytest.fixture
def port():
    return servers.free_port()


@pytest.fixture
def pod(workload, inference, model, port, tmp_path):
    """A pod of mlops-service, published on ``port`` of this machine."""
    spec = copy.deepcopy(workload.spec)
    spec["containers"][0]["ports"][0]["hostPort"] = port
    with play("mlops-service", spec, (inference, model), tmp_path) as container:
        container.wait_until_ready()
        yield container


def test_service_runs_with_the_deployments_rights_and_limits(workload, pod, port):
    status = dict(line.split(":\t") for line in pod.run("cat", "/proc/1/status").stdout.decode().splitlines())
    assert status["Uid"].split() == ["10001"] * 4
    assert (status["CapBnd"], status["NoNewPrivs"], status["Seccomp"]) == ("0" * 16, "1", "2")
    assert pod.run("touch", "/app/new", check=False).returncode != 0
    files = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # cgroup version 2, version 1
    limit = manifests.amount(workload.container["resources"]["limits"]["memory"])
    assert int(pod.run("cat", *files, check=False).stdout) == limit
    answer = requests.post(f"http://127.0.0.1:{port}/predict", files={"file": CAT}, timeout=60)
    assert answer.json()["label"] == "cat"
    assert "request_count_total" in requests.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text


def test_init_containers_bring_the_model_of_its_image(workload, inference, checkout, port, tmp_path):
    """Also a model that is not the service's own, in an image that the registry's command built."""
    bundle = bundles.write(tmp_path / "bundle", version="m2")
    options = ["--registry", engine.REGISTRY, "--engine", "buildah"]
    command = [sys.executable, "-m", "ml.registry", "publish", "--bundle", str(bundle), *options]
    subprocess.run(command, check=True, cwd=servers.ROOT, env=servers.environment() | engine.ENVIRONMENT)
    spec = copy.deepcopy(workload.spec)
    spec["containers"][0]["ports"][0]["hostPort"] = port
    images = (inference, engine.Image(f"{engine.REGISTRY}/model:m2"))
    with play("mlops-service", spec, images, tmp_path) as container:
        container.wait_until_ready()
        ready = requests.get(f"http://127.0.0.1:{port}/ready", timeout=60).json()
        assert ready["model"]["version"] == "m2"
        assert container.run("touch", "/model/bundle/new", check=False).returncode != 0


def test_worst_uploads_in_all_places_do_not_exceed_the_memory(workload, pod, port):
    """Lossless WebP needs the most memory per pixel; each upload is padded to the limit."""
    side = int(int(workload.env["MAX_PIXELS"]) ** 0.5)
    file = io.BytesIO()
    Image.new("RGBA", (side, side), (0, 0, 0, 0)).save(file, "WEBP", lossless=True, method=0)
    image = file.getvalue().ljust(int(workload.env["MAX_UPLOAD_BYTES"]) - 1000, b"\0")

    def attack(_number):
        answer = requests.post(f"http://127.0.0.1:{port}/predict", files={"file": image}, timeout=240)
        return answer.status_code

    with ThreadPoolExecutor(ATTACKERS) as pool:
        statuses = list(pool.map(attack, range(ATTACKERS)))
    assert 200 in statuses and set(statuses) <= {200, 503}
    assert '"level": "ERROR"' not in pod.logs()
    assert not engine.inspect(pod.name)["State"]["OOMKilled"]


def test_pre_stop_drains_the_service(workload, pod, port):
    kept = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    kept.request("GET", "/ready")
    answer = kept.getresponse()
    assert (answer.status, answer.read() != b"", answer.will_close) == (200, True, False)
    stopping = threading.Thread(target=pod.run, args=workload.container["lifecycle"]["preStop"]["exec"]["command"])
    stopping.start()
    deadline = time.monotonic() + 10
    while requests.get(f"http://127.0.0.1:{port}/ready", timeout=60).status_code != 503:
        assert time.monotonic() < deadline, "preStop does not drain"
        time.sleep(0.1)
    kept.request("POST", "/predict", CAT, {"Content-Type": "image/jpeg"})
    answer = kept.getresponse()
    assert (answer.status, answer.will_close) == (200, True)
    stopping.join()
    engine.podman("stop", f"--time={workload.spec['terminationGracePeriodSeconds']}", pod.name)
    assert engine.inspect(pod.name)["State"]["ExitCode"] == 0


def test_job_runs_with_the_cron_jobs_rights(monitor, tmp_path):
    spec = copy.deepcopy(manifests.workload(manifests.render(manifests.MINIKUBE), "post-deploy-accuracy").spec)
    # The cluster's names do not exist here. The check fails, and its result goes to the spool.
    for entry in spec["containers"][0]["env"]:
        if entry["name"] in ("PREDICT_URL", "MLFLOW_TRACKING_URI", "PUSHGATEWAY_URL"):
            entry["value"] = "http://127.0.0.1:9"
    # podman implements neither fsGroup of claims nor optional ConfigMaps.
    for volume in spec["volumes"]:
        volume.pop("persistentVolumeClaim", None)
        volume.pop("configMap", None)
        volume.setdefault("emptyDir", {})
    with play("post-deploy-accuracy", spec, (monitor,), tmp_path) as job:
        assert engine.podman("wait", job.name).stdout.strip() == b"1"
        line = json.loads(engine.podman("logs", job.name, stderr=subprocess.DEVNULL).stdout)
    assert line["metrics"]["post_deploy_predict_success"] == 0
    assert any("wait in SPOOL_DIR=/spool" in note for note in line["delivery"]), line

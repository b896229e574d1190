"""The pods of the rendered overlay, with the security context and the limits that a cluster gives them."""

import contextlib
import copy
import http.client
import io
import json
import subprocess
import threading
import time

import pytest
import requests
import yaml
from PIL import Image

from tests import servers
from tests.images import engine
from tests.images.test_inference import CAT, wait_until_ready
from tests.kustomize import manifests


@contextlib.contextmanager
def play(kind, name, template, image, tmp_path):
    """Run the one container of a pod template until the block ends."""
    pod = copy.deepcopy(template)
    pod["spec"]["containers"][0]["image"] = image.name
    name = f"{name}-{servers.free_port()}"
    file = tmp_path / "pod.yaml"
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **pod}))
    engine.podman("kube", "play", "--no-hosts", str(file))
    try:
        yield engine.Container(f"{name}-{pod['spec']['containers'][0]['name']}")
    finally:
        engine.podman("pod", "rm", "--force", "--time=0", name)


@pytest.fixture(scope="module")
def deployment():
    objects = manifests.render(manifests.MINIKUBE)
    return manifests.find(objects, "Deployment", "mlops-service")


@pytest.fixture
def port():
    return servers.free_port()


@pytest.fixture
def pod(deployment, inference, port, tmp_path):
    """A pod of mlops-service, reached through ``port`` of this machine."""
    template = copy.deepcopy(deployment["spec"]["template"])
    template["spec"]["containers"][0]["ports"][0]["hostPort"] = port
    with play("Pod", "mlops-service", {"spec": template["spec"]}, inference, tmp_path) as container:
        wait_until_ready(container)
        yield container


def test_the_service_runs_with_what_the_deployment_grants(deployment, pod, port):
    (wanted,) = deployment["spec"]["template"]["spec"]["containers"]
    status = dict(line.split(":\t") for line in pod.run("cat", "/proc/1/status").stdout.decode().splitlines())
    assert status["Uid"].split() == ["10001"] * 4
    assert (status["CapBnd"], status["NoNewPrivs"], status["Seccomp"]) == ("0" * 16, "1", "2")
    assert pod.run("touch", "/app/new", check=False).returncode != 0
    size = wanted["resources"]["limits"]["memory"]
    assert memory_limit(pod) == int(size[:-2]) * {"Mi": 2**20, "Gi": 2**30}[size[-2:]]
    answer = requests.post(f"http://127.0.0.1:{port}/predict", files={"file": CAT}, timeout=60)
    assert answer.json()["label"] == "cat"
    assert "request_count_total" in requests.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text


def memory_limit(pod):
    paths = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # version 2, version 1
    return int(pod.run("cat", *paths, check=False).stdout)


def test_the_worst_pictures_in_all_places_do_not_use_up_its_memory(deployment, pod, port):
    """Lossless WebP takes the most memory for a pixel, and each upload is padded to the most bytes."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    limits = {entry["name"]: entry.get("value") for entry in container["env"]}
    side = int(int(limits["MAX_PIXELS"]) ** 0.5)
    file = io.BytesIO()
    Image.new("RGBA", (side, side), (0, 0, 0, 0)).save(file, "WEBP", lossless=True, method=0)
    picture = file.getvalue().ljust(int(limits["MAX_UPLOAD_BYTES"]) - 1000, b"\0")
    statuses = []

    def attack():
        answer = requests.post(f"http://127.0.0.1:{port}/predict", files={"file": picture}, timeout=240)
        statuses.append(answer.status_code)

    attackers = [threading.Thread(target=attack) for _ in range(24)]
    for attacker in attackers:
        attacker.start()
    for attacker in attackers:
        attacker.join()
    assert len(statuses) == 24
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 16, statuses
    assert '"level": "ERROR"' not in pod.logs()
    assert not engine.inspect(pod.name)["State"]["OOMKilled"]


def test_the_end_that_a_cluster_gives_it_drains_it(deployment, pod, port):
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    kept = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    kept.request("GET", "/ready")
    answer = kept.getresponse()
    assert (answer.status, answer.read() != b"", answer.will_close) == (200, True, False)
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    stopping = threading.Thread(target=pod.run, args=command)
    stopping.start()
    deadline = time.monotonic() + 10
    while requests.get(f"http://127.0.0.1:{port}/ready", timeout=60).status_code != 503:
        assert time.monotonic() < deadline, "preStop does not drain"
        time.sleep(0.1)
    kept.request("POST", "/predict", CAT, {"Content-Type": "image/jpeg"})
    answer = kept.getresponse()
    assert (answer.status, answer.will_close) == (200, True)
    stopping.join()
    grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    engine.podman("stop", f"--time={grace}", pod.name)
    assert engine.inspect(pod.name)["State"]["ExitCode"] == 0


def test_the_job_runs_with_what_the_cron_job_grants(monitor, tmp_path):
    objects = manifests.render(manifests.MINIKUBE)
    spec = manifests.find(objects, "CronJob", "post-deploy-accuracy")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    spec = copy.deepcopy(spec)
    (container,) = spec["containers"]
    # Nobody answers at the cluster's names here: the way to the spool is what is left of a check.
    for entry in container["env"]:
        if entry["name"] in ("PREDICT_URL", "MLFLOW_TRACKING_URI", "PUSHGATEWAY_URL"):
            entry["value"] = "http://127.0.0.1:9"
    # podman knows neither volume claims' groups nor optional ConfigMaps.
    for volume in spec["volumes"]:
        volume.pop("persistentVolumeClaim", None)
        volume.pop("configMap", None)
        volume.setdefault("emptyDir", {})
    with play("Pod", "post-deploy-accuracy", {"spec": spec}, monitor, tmp_path) as job:
        assert engine.podman("wait", job.name).stdout.strip() == b"1"
        line = json.loads(engine.podman("logs", job.name, stderr=subprocess.DEVNULL).stdout)
    assert line["metrics"]["post_deploy_predict_success"] == 0
    assert any("wait in SPOOL_DIR=/spool" in note for note in line["delivery"]), line

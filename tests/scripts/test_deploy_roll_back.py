"""scripts/deploy: roll-backs."""

import json
import os
import shutil
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests import bundles
from tests.scripts import cluster
from tests.scripts.desk import CHAMPION, INFERENCE, MONITOR, VERSION
from tests.services.inference.serving import service
from tests.services.monitor import stubs


def test_failed_version_is_explained_and_every_change_undone(deployed):
    # The autoscaler's number stays, too, now and in the next deploy.
    deployment = deployed.cluster.get("deployments", "mlops", "mlops-service")
    deployment["spec"]["replicas"] = 3
    before = deployed.state()
    add_to_overlay(deployed.repository / "kustomize")
    deployed.cluster.missing.add(f"{INFERENCE}:v3")
    code, printed = deployed.deploy("v3")
    assert code == 1, printed
    assert "created networkpolicies/nobody" in deployed.cluster.changes
    assert deployed.running() == [f"{INFERENCE}:v1", f"{MONITOR}:v1"]
    assert deployed.state() == before
    assert "mlops/mlops-service cannot start: mlops-service-" in printed and "ImagePullBackOff" in printed
    assert f'Back-off pulling image "{INFERENCE}:v3"' in printed and "a log line of mlops-service" in printed
    assert f"Rolled back. Running now: {INFERENCE}:v1" in printed
    assert deployed.deploy("v2")[0] == 0
    assert deployed.cluster.get("deployments", "mlops", "mlops-service")["spec"]["replicas"] == 3


def add_to_overlay(kustomize: Path) -> None:
    """Change a rule of Prometheus, and add a NetworkPolicy."""
    with (kustomize / "base" / "prometheus" / "rules.yml").open("a") as rules:
        rules.write("# another rule\n")
    overlay = kustomize / "overlays" / "minikube" / "kustomization.yaml"
    overlay.write_text(overlay.read_text().replace("resources:\n", "resources:\n  - more.yaml\n"))
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    policy |= {"metadata": {"name": "nobody", "namespace": "mlops"}, "spec": {"podSelector": {}}}
    (overlay.parent / "more.yaml").write_text(json.dumps(policy))


@pytest.mark.parametrize("second", ["v3", "v4"])
def test_first_version_that_fails_stays_until_another_runs(desk, second):
    # A namespace alone is nothing to go back to.
    desk.cluster.create("namespaces", "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mlops"}})
    desk.cluster.missing |= {f"{INFERENCE}:v3", f"{INFERENCE}:v4"}
    desk.cluster.keeps_broken = True
    cannot_start = "what ran before does not run either: mlops/mlops-service cannot start"
    for tag, said in (("v3", "nothing before this to go back to"), (second, cannot_start)):
        code, printed = desk.deploy(tag)
        assert code == 4, printed
        assert said in printed and "ImagePullBackOff" in printed
        assert desk.running()[0] == f"{INFERENCE}:v3"
    assert desk.deploy("v1")[0] == 0


def test_wait_for_the_earlier_version_can_be_interrupted(desk):
    desk.cluster.slow |= {f"{INFERENCE}:v3", f"{INFERENCE}:v4"}
    assert desk.deploy("v3", TIMEOUT="1")[0] == 4
    process = desk.start("v4", TIMEOUT="100")
    for line in ("Waiting for mlops/mlops-service", "Waiting for mlops/mlops-service"):
        desk.wait_for_line(process, line)
        os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 4, printed
    assert "the wait was interrupted" in printed
    assert desk.running()[0] == f"{INFERENCE}:v3"
    desk.assert_nothing_left()


def test_service_that_was_scaled_to_0_gets_its_minimum_of_the_earlier_version(deployed):
    deployed.scale(0)
    deployed.cluster.missing.add(f"{INFERENCE}:v3")
    code, printed = deployed.deploy("v3")
    assert code == 1, printed
    assert deployed.running()[0] == f"{INFERENCE}:v1"
    assert deployed.replicas() == 2


def test_check_of_the_failed_version_is_ended(deployed):
    spec = deployed.cluster.get("cronjobs", "monitoring", "post-deploy-accuracy")["spec"]["jobTemplate"]["spec"]
    for tag in ("v1", "v3"):
        text = json.dumps(spec).replace(f"{MONITOR}:v1", f"{MONITOR}:{tag}")
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": f"check-{tag}"}}
        deployed.cluster.create("jobs", "monitoring", job | {"spec": json.loads(text), "status": {"active": 1}})
    deployed.cluster.missing.add(f"{INFERENCE}:v3")
    assert deployed.deploy("v3")[0] == 1
    assert [job["metadata"]["name"] for job in deployed.cluster.find("jobs", "monitoring")] == ["check-v1"]


def test_pod_that_never_is_ready_is_rolled_back(deployed):
    deployed.cluster.slow.add(f"{INFERENCE}:v3")
    code, printed = deployed.deploy("v3", TIMEOUT="2")
    assert code == 1, printed
    assert "mlops/mlops-service is not ready after TIMEOUT=2 seconds" in printed
    assert deployed.running()[0] == f"{INFERENCE}:v1"


def test_reason_comes_first_and_is_not_lost_among_the_probes(deployed, tmp_path):
    reason = '{"level": "ERROR", "message": "no model: the hash is wrong"}'
    probe = '{"level": "INFO", "message": "request", "endpoint": "/ready", "status": 503}'
    deployed.cluster.logs["mlops-service"] = "\n".join([reason, *[probe] * 200, ""])
    deployed.cluster.slow.add(f"{INFERENCE}:v3")
    with service(tmp_path, MODEL_DIR=tmp_path / "none", WORKERS=1) as empty:
        deployed.image("v3", empty.port)
        code, printed = deployed.deploy("v3", TIMEOUT="2")
        answer = requests.get(f"{empty.address}/ready", timeout=10).json()
    assert code == 1, printed
    assert printed.count("no model: the hash is wrong") == 1 and '"message": "request"' not in printed
    assert printed.index("/ready answered") < printed.index("the hash is wrong") < printed.index("pods and warnings")
    assert answer["detail"] in printed
    assert len(printed.splitlines()) < 75


def test_wrong_answer_of_the_new_pod_is_not_tried_again(deployed):
    asked = []

    def respond(handler, _body):
        asked.append(handler.path)
        stubs.answer(handler, 500 if handler.path == "/predict" else 200, {"version": VERSION})

    with stubs.serving(respond) as stub:
        deployed.image("v3", urlsplit(stub).port)
        code, printed = deployed.deploy("v3", SMOKE_TIMEOUT="100")
    assert code == 1, printed
    assert "deploy: /predict answered:" in printed
    assert asked.count("/predict") == 1


def test_partly_refused_version_is_rolled_back(deployed):
    before = deployed.state()
    deployed.cluster.denied.add("cronjobs")
    code, printed = deployed.deploy("v2")
    assert code == 1, printed
    assert "configured deployments/mlops-service" in deployed.cluster.changes
    assert 'cronjobs "post-deploy-accuracy" is forbidden' in printed
    assert "the cluster did not take all of it" in printed
    assert deployed.state() == before


def test_objects_not_made_by_apply_are_restored(deployed):
    for thing in deployed.cluster.objects.values():
        thing["metadata"].get("annotations", {}).pop(cluster.RECORD, None)
    before = deployed.state()
    deployed.cluster.missing.add(f"{INFERENCE}:v3")
    code, printed = deployed.deploy("v3")
    assert code == 1, printed
    assert deployed.state() == before


def test_other_model_than_in_the_image_is_rolled_back(desk, champion, tmp_path):
    """In an overlay without a component that brings the model as an image of its own."""
    desk.cluster.create("namespaces", "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a"}})
    desk.overlay("plain", namespace="team-a", resources=["../../base"], transformers=["../../addresses"])
    plain = {"OVERLAY": "kustomize/overlays/plain"}
    assert desk.deploy("v1", **plain)[0] == 0
    other = tmp_path / "other"
    shutil.copytree(CHAMPION, other)
    manifest = (other / "manifest.json").read_text()
    (other / "manifest.json").write_text(manifest.replace(VERSION, "another"))
    desk.image("v3", champion.port, other)
    code, printed = desk.deploy("v3", **plain)
    assert code == 1, printed
    assert f"/ready names the model {VERSION}, not another, which was deployed" in printed
    service = desk.cluster.get("deployments", "team-a", "mlops-service")["spec"]["template"]["spec"]
    assert service["containers"][0]["image"] == f"{INFERENCE}:v1"


def test_leaving_pod_is_not_taken_for_the_new_one(deployed, tmp_path):
    bundle = bundles.write(tmp_path / "colours", version=VERSION)
    with service(tmp_path, MODEL_DIR=bundle, WORKERS=1) as other:
        other.wait_for_workers(1)
        deployed.image("v3", other.port, bundle)
        deployed.cluster.leaving = 8
        code, printed = deployed.deploy("v3", SMOKE_TIMEOUT="60")
        assert code == 0, printed
        assert other.metric("request_count_total", endpoint="/predict", status="200") == 1


def test_service_without_model_is_rolled_back(deployed, tmp_path):
    with service(tmp_path, MODEL_DIR=tmp_path / "none", WORKERS=1) as empty:
        deployed.image("v3", empty.port)
        code, printed = deployed.deploy("v3")
    assert code == 1, printed
    assert "/ready answered:" in printed and "503" in printed
    assert deployed.running()[0] == f"{INFERENCE}:v1"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_deploy_is_rolled_back(deployed, number):
    before = deployed.state()
    deployed.cluster.slow.add(f"{INFERENCE}:v3")
    process = deployed.start("v3", TIMEOUT="60")
    deployed.wait_for_line(process, "Waiting for mlops/mlops-service")
    assert deployed.running()[0] == f"{INFERENCE}:v3"
    os.killpg(process.pid, number)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, printed
    assert deployed.state() == before
    deployed.assert_nothing_left()

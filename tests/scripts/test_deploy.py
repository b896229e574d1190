"""scripts/deploy: the state of the cluster afterwards, and the lock."""

import json
from pathlib import Path

import pytest

from tests.scripts.desk import INFERENCE, MONITOR, VERSION


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_tag_is_deployed_and_tried(desk, champion):
    before, asked = files(desk.repository), predictions(champion)
    code, printed = desk.deploy("v1")
    assert code == 0, printed
    assert desk.running() == [f"{INFERENCE}:v1", f"{MONITOR}:v1"]
    assert f"Deployed v1: the model {VERSION} answers." in printed
    assert predictions(champion) == asked + 1
    assert files(desk.repository) == before


def predictions(champion) -> float:
    return champion.metric("request_count_total", endpoint="/predict", status="200")


def test_same_tag_changes_nothing(deployed):
    before = deployed.state()
    code, printed = deployed.deploy("v1")
    assert code == 0, printed
    assert "Nothing differs from what the cluster has." in printed and "configured" not in printed
    assert deployed.cluster.changes == ["created configmaps/deploy-lock", "deleted configmaps/deploy-lock"]
    assert deployed.state() == before


def test_another_tag_and_repository_replace_the_first(deployed):
    code, printed = deployed.deploy("v2", REPOSITORY_URL="https://git.example.org/us/pets")
    assert code == 0, printed
    assert deployed.running() == [f"{INFERENCE}:v2", f"{MONITOR}:v2"]
    assert repository_url(deployed) == "https://git.example.org/us/pets"


def test_service_that_was_scaled_to_0_gets_its_minimum(deployed):
    deployed.scale(0)
    code, printed = deployed.deploy("v1")
    assert code == 0, printed
    assert deployed.replicas() == 2


def test_port_of_mlflow_is_in_the_setting_and_in_the_network_policy(deployed):
    assert deployed.deploy("v1", MLFLOW_PORT="5001")[0] == 0
    job = deployed.cluster.get("cronjobs", "monitoring", "post-deploy-accuracy")
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    settings = {entry["name"]: entry["value"] for entry in container["env"]}
    assert settings["MLFLOW_TRACKING_URI"] == "http://host.minikube.internal:5001"
    assert settings["PREDICT_URL"] == "http://mlops-service.mlops.svc:8000"
    policy = deployed.cluster.get("networkpolicies", "monitoring", "post-deploy-accuracy")
    ports = [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]]
    assert ports == [53, 53, 8000, 9091, 5001]


def test_overlay_with_its_own_namespace_and_prefix_is_deployed(desk):
    desk.cluster.create("namespaces", "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a"}})
    desk.overlay("mine", namespace="team-a", namePrefix="dev-", resources=["../../base"])
    code, printed = desk.deploy("v1", OVERLAY="kustomize/overlays/mine")
    assert code == 2, printed
    assert "transformers: [../../addresses]" in printed
    desk.overlay(
        "mine", namespace="team-a", namePrefix="dev-", resources=["../../base"], transformers=["../../addresses"]
    )
    repository = {"REPOSITORY_URL": "https://git.example.org/us/pets", "MLFLOW_PORT": "5001"}
    code, printed = desk.deploy("v1", OVERLAY="kustomize/overlays/mine", **repository)
    assert code == 0, printed
    assert "Waiting for team-a/dev-mlops-service" in printed
    prometheus = desk.cluster.get("deployments", "team-a", "dev-prometheus")
    assert repository["REPOSITORY_URL"] in json.dumps(prometheus["spec"]["template"])
    job = desk.cluster.get("cronjobs", "team-a", "dev-post-deploy-accuracy")
    assert "http://host.minikube.internal:5001" in json.dumps(job["spec"])


def test_registry_is_written_in_lower_case(desk, champion):
    desk.image("v1", champion.port, registry="ghcr.io/owner/repo")
    code, printed = desk.deploy("v1", REGISTRY="ghcr.io/Owner/Repo", CONTEXT="minikube")
    assert code == 0, printed
    assert desk.running() == ["ghcr.io/owner/repo/inference:v1", "ghcr.io/owner/repo/monitor:v1"]
    assert repository_url(desk) == "https://github.com/owner/repo"


def repository_url(desk) -> str:
    """Return the address of the runbooks in the alerts of the cluster."""
    prometheus = desk.cluster.get("deployments", "monitoring", "prometheus")
    containers = prometheus["spec"]["template"]["spec"]["containers"]
    return {e["name"]: e["value"] for e in containers[0]["env"]}["REPOSITORY_URL"]


def test_locked_cluster_is_not_touched(deployed):
    deployed.lock(expires=60)
    deployed.cluster.changes.clear()
    process = deployed.start("v2")
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 3, printed
    assert "somebody@elsewhere" in printed
    assert deployed.cluster.changes == []


def test_second_deploy_waits_for_the_first(deployed):
    deployed.lock(expires=60)
    process = deployed.start("v2", LOCK_TIMEOUT="60")
    deployed.wait_for_line(process, "Waiting for another deploy to end (somebody@elsewhere)")
    deployed.cluster.delete("configmaps", "default", "deploy-lock")
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0, printed
    assert deployed.running()[0] == f"{INFERENCE}:v2"


@pytest.mark.parametrize("first", ["created", "configured"])
def test_two_deploys_at_once_take_turns(deployed, first):
    """Also where both find a lock that an earlier deploy left behind."""
    if first == "configured":
        deployed.lock(expires=-1)
        deployed.cluster.changes.clear()
    processes = [deployed.start(tag, LOCK_TIMEOUT="120") for tag in ("v1", "v2")]
    outputs = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    locks = [change.partition(" ")[0] for change in deployed.cluster.changes if "deploy-lock" in change]
    assert locks == [first, "deleted", "created", "deleted"]
    left_behind = "Taking over the lock that a deploy left behind (somebody@elsewhere)"
    assert any(left_behind in printed for printed in outputs) is (first == "configured")

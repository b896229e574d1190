"""scripts/deploy: what it brings to the cluster."""

from pathlib import Path

from tests.scripts.desk import INFERENCE, MONITOR, VERSION


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_tag_is_deployed_tried_and_the_tree_left_as_it_was(desk):
    before = files(desk.repository)
    code, printed = desk.deploy("v1")
    assert code == 0, printed
    assert desk.running() == [f"{INFERENCE}:v1", f"{MONITOR}:v1"]
    assert f"Deployed v1: the model {VERSION} answers." in printed
    assert files(desk.repository) == before


def test_the_smoke_test_really_asks(desk, champion):
    asked = champion.metric("request_count_total", endpoint="/predict", status="200")
    assert desk.deploy("v1")[0] == 0
    assert champion.metric("request_count_total", endpoint="/predict", status="200") == asked + 1


def test_twice_changes_nothing(deployed):
    before = deployed.state()
    assert deployed.deploy("v1")[0] == 0
    assert deployed.cluster.changes == ["created configmaps/deploy-lock", "deleted configmaps/deploy-lock"]
    assert deployed.state() == before


def test_another_tag_takes_the_place(deployed):
    assert deployed.deploy("v2")[0] == 0
    assert deployed.running() == [f"{INFERENCE}:v2", f"{MONITOR}:v2"]


def test_images_of_a_registry_in_lower_case(desk, champion):
    desk.image("v1", champion.port, registry="ghcr.io/owner/repo")
    code, printed = desk.deploy("v1", REGISTRY="ghcr.io/Owner/Repo", CONTEXT="minikube")
    assert code == 0, printed
    assert desk.running() == ["ghcr.io/owner/repo/inference:v1", "ghcr.io/owner/repo/monitor:v1"]
    assert repository_url(desk) == "https://github.com/owner/repo"


def repository_url(desk) -> str:
    """Where the alerts in the cluster say that the runbooks are."""
    prometheus = desk.cluster.get("deployments", "monitoring", "prometheus")
    containers = prometheus["spec"]["template"]["spec"]["containers"]
    return {e["name"]: e["value"] for e in containers[0]["env"]}["REPOSITORY_URL"]


def test_alerts_link_to_the_runbooks_of_the_repository_that_is_named(desk):
    code, printed = desk.deploy("v1", REPOSITORY_URL="https://git.example.org/us/pets")
    assert code == 0, printed
    assert repository_url(desk) == "https://git.example.org/us/pets"

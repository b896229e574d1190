"""scripts/deploy: what it brings to the cluster, and what it leaves there when something is wrong."""

import contextlib
import copy
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.scripts import cluster
from tests.scripts.desk import CHAMPION, INFERENCE, MONITOR, Desk
from tests.services.inference.serving import Service, service

VERSION = json.loads((CHAMPION / "manifest.json").read_text())["version"]


@pytest.fixture(scope="module")
def champion(tmp_path_factory) -> Iterator[Service]:
    """A service with the shipped model."""
    with service(tmp_path_factory.mktemp("champion"), MODEL_DIR=CHAMPION, WORKERS=1) as running:
        running.wait_for_workers(1)
        yield running


@pytest.fixture
def desk(tmp_path, champion) -> Iterator[Desk]:
    """A cluster with nothing in it, and images v1 and v2 that serve the shipped model."""
    with desk_in(tmp_path, champion) as made:
        yield made


@contextlib.contextmanager
def desk_in(folder: Path, champion: Service) -> Iterator[Desk]:
    with cluster.running() as (made, address):
        desk = Desk(folder, made, address)
        desk.image("v1", champion.port)
        desk.image("v2", champion.port)
        yield desk


@pytest.fixture(scope="module")
def objects_of_v1(tmp_path_factory, champion) -> dict[tuple[str, str, str], cluster.Object]:
    with desk_in(tmp_path_factory.mktemp("v1"), champion) as desk:
        code, printed = desk.deploy("v1")
        assert code == 0, printed
        return desk.cluster.objects


@pytest.fixture
def deployed(desk, objects_of_v1) -> Desk:
    """The same with v1 deployed."""
    desk.cluster.objects = copy.deepcopy(objects_of_v1)
    return desk


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


def test_an_image_that_is_not_there_is_explained_and_rolled_back(deployed):
    before = deployed.state()
    deployed.cluster.missing.add(f"{INFERENCE}:v3")
    code, printed = deployed.deploy("v3")
    assert code == 1, printed
    assert deployed.running() == [f"{INFERENCE}:v1", f"{MONITOR}:v1"]
    assert deployed.state() == before
    assert "ImagePullBackOff" in printed
    assert f'Back-off pulling image "{INFERENCE}:v3"' in printed
    assert "a log line of mlops-service" in printed
    assert f"Rolled back. Running now: {INFERENCE}:v1" in printed
    assert "mlops/mlops-service cannot start: mlops-service-" in printed


def test_a_pod_that_never_becomes_ready_is_given_up_after_the_time(deployed):
    deployed.cluster.slow.add(f"{INFERENCE}:v3")
    code, printed = deployed.deploy("v3", TIMEOUT="2")
    assert code == 1, printed
    assert "mlops/mlops-service is not ready after TIMEOUT=2 seconds" in printed
    assert deployed.running()[0] == f"{INFERENCE}:v1"


def test_all_that_the_failed_version_changed_goes_back_and_what_it_brought_goes(deployed):
    before = deployed.state()
    base = deployed.repository / "kustomize" / "base"
    with (base / "prometheus" / "rules.yml").open("a") as rules:
        rules.write("# another rule\n")
    overlay = deployed.repository / "kustomize" / "overlays" / "minikube" / "kustomization.yaml"
    overlay.write_text(overlay.read_text().replace("resources:\n", "resources:\n  - more.yaml\n"))
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    policy |= {"metadata": {"name": "nobody", "namespace": "mlops"}, "spec": {"podSelector": {}}}
    (overlay.parent / "more.yaml").write_text(json.dumps(policy))
    deployed.cluster.missing.add(f"{INFERENCE}:v3")
    code, printed = deployed.deploy("v3")
    assert code == 1, printed
    assert "created networkpolicies/nobody" in deployed.cluster.changes
    assert deployed.state() == before


def test_what_was_not_made_by_apply_goes_back_too(deployed):
    for thing in deployed.cluster.objects.values():
        thing["metadata"].get("annotations", {}).pop(cluster.RECORD, None)
    before = deployed.state()
    deployed.cluster.missing.add(f"{INFERENCE}:v3")
    code, printed = deployed.deploy("v3")
    assert code == 1, printed
    assert deployed.state() == before


def test_another_model_than_the_image_has_is_rolled_back(deployed, champion, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(CHAMPION, other)
    manifest = (other / "manifest.json").read_text()
    (other / "manifest.json").write_text(manifest.replace(VERSION, "another"))
    deployed.image("v3", champion.port, other)
    code, printed = deployed.deploy("v3")
    assert code == 1, printed
    assert f"/ready names the model {VERSION}, but in the image is another" in printed
    assert deployed.running()[0] == f"{INFERENCE}:v1"


def test_a_service_without_a_model_is_rolled_back(deployed, tmp_path):
    with service(tmp_path, MODEL_DIR=tmp_path / "none", WORKERS=1) as empty:
        deployed.image("v3", empty.port)
        code, printed = deployed.deploy("v3")
    assert code == 1, printed
    assert "/ready answered:" in printed and "503" in printed
    assert deployed.running()[0] == f"{INFERENCE}:v1"


def test_a_first_deploy_that_fails_is_left_to_be_looked_at(desk):
    desk.cluster.missing.add(f"{INFERENCE}:v3")
    code, printed = desk.deploy("v3")
    assert code == 4, printed
    assert "nothing before this to go back to" in printed
    assert "ImagePullBackOff" in printed
    assert desk.running()[0] == f"{INFERENCE}:v3"
    # The next one finds a pod that cannot start, which is none of its own.
    desk.cluster.changes.clear()
    assert desk.deploy("v1")[0] == 0


def test_going_back_to_what_did_not_run_either_is_said(desk):
    desk.cluster.missing |= {f"{INFERENCE}:v3", f"{INFERENCE}:v4"}
    assert desk.deploy("v3")[0] == 4
    code, printed = desk.deploy("v4")
    assert code == 4, printed
    assert "what ran before does not run either" in printed
    assert desk.running()[0] == f"{INFERENCE}:v3"


def test_a_locked_cluster_is_not_touched_and_the_holder_named(deployed):
    deployed.lock(expires=60)
    deployed.cluster.changes.clear()
    process = deployed.start("v2")
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 3, printed
    assert "somebody@elsewhere" in printed
    assert deployed.cluster.changes == []
    assert deployed.running()[0] == f"{INFERENCE}:v1"


def test_the_second_waits_for_the_first(deployed):
    deployed.lock(expires=60)
    process = deployed.start("v2", LOCK_TIMEOUT="60")
    deployed.wait_for_line(process, "Waiting for another deploy to end (somebody@elsewhere)")
    deployed.cluster.delete("configmaps", "default", "deploy-lock")
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0, printed
    assert deployed.running()[0] == f"{INFERENCE}:v2"


def test_two_at_once_take_turns(deployed):
    processes = [deployed.start(tag, LOCK_TIMEOUT="60") for tag in ("v1", "v2")]
    for process in processes:
        printed, _ = process.communicate(timeout=120)
        assert process.returncode == 0, printed
    locks = [change for change in deployed.cluster.changes if "deploy-lock" in change]
    assert locks == ["created configmaps/deploy-lock", "deleted configmaps/deploy-lock"] * 2


def test_a_lock_that_was_left_behind_is_taken_over(deployed):
    deployed.lock(expires=-1)
    code, printed = deployed.deploy("v2")
    assert code == 0, printed
    assert "Taking over the lock that a deploy left behind (somebody@elsewhere)" in printed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_in_the_middle_it_goes_back(deployed, number):
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


@pytest.mark.parametrize("tag", ["", "latest", "with space", "../up", "a:b", "-x", "a\nb", "x" * 129])
def test_what_is_no_tag_is_refused(desk, tag):
    code, printed = desk.deploy(tag)
    assert code == 2, printed
    assert "tag" in printed
    assert desk.cluster.changes == []


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"REGISTRY": "ghcr.io/ow ner"}, "REGISTRY=ghcr.io/ow ner"),
        ({"OVERLAY": "kustomize/overlays/moon"}, "OVERLAY=kustomize/overlays/moon"),
        ({"OVERLAY": "/etc"}, "OVERLAY=/etc"),
        ({"OVERLAY": "kustomize/base/grafana"}, "inference"),
        ({"TIMEOUT": "soon"}, "TIMEOUT"),
        ({"CONTEXT": "moon"}, "no cluster answers in context moon"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_touched(desk, settings, named):
    code, printed = desk.deploy("v1", **settings)
    assert code == 2, printed
    assert named in printed
    assert desk.cluster.changes == []


def test_without_a_tag_it_says_how_it_is_used(desk):
    code, printed = desk.deploy()
    assert code == 2
    assert "usage: scripts/deploy TAG" in printed and "exit codes:" in printed


@pytest.mark.parametrize("tool", ["kubectl", "curl"])
def test_a_missing_tool_is_named(desk, tool):
    needed = [
        "cat",
        "chmod",
        "cp",
        "date",
        "dirname",
        "grep",
        "mkdir",
        "mktemp",
        "rm",
        "sed",
        "sh",
        "sort",
        "tail",
        "tr",
    ]
    for name in {*needed, "curl"} - {tool}:
        (desk.bin / name).symlink_to(shutil.which(name) or name)
    if tool == "kubectl":
        (desk.bin / "kubectl").unlink()
    code, printed = desk.deploy("v1", PATH=str(desk.bin))
    assert code == 2, printed
    assert f"{tool} is not installed: https://" in printed


def test_the_shell_scripts_are_clean():
    scripts = [servers.ROOT / "scripts" / "deploy", *(servers.ROOT / "scripts" / "deploying").glob("*.sh")]
    done = subprocess.run(["shellcheck", "--shell=sh", *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout

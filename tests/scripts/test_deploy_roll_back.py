"""scripts/deploy: how it goes back when something is wrong, and what it leaves when it cannot."""

import json
import os
import shutil
import signal

import pytest

from tests import bundles
from tests.scripts import cluster
from tests.scripts.desk import CHAMPION, INFERENCE, MONITOR, VERSION
from tests.services.inference.serving import service


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


def test_what_the_cluster_takes_only_in_part_goes_back(deployed):
    before = deployed.state()
    deployed.cluster.denied.add("cronjobs")
    code, printed = deployed.deploy("v2")
    assert code == 1, printed
    assert "configured deployments/mlops-service" in deployed.cluster.changes
    assert 'cronjobs "post-deploy-accuracy" is forbidden' in printed
    assert "the cluster did not take all of it" in printed
    assert deployed.state() == before


def test_a_namespace_that_was_made_by_hand_is_nothing_to_go_back_to(desk):
    desk.cluster.create("namespaces", "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mlops"}})
    desk.cluster.missing.add(f"{INFERENCE}:v3")
    assert desk.deploy("v3")[0] == 4
    assert desk.running()[0] == f"{INFERENCE}:v3"


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


def test_a_pod_that_is_just_leaving_is_not_taken_for_the_new_one(deployed, tmp_path):
    bundle = bundles.write(tmp_path / "colours", version="another")
    with service(tmp_path, MODEL_DIR=bundle, WORKERS=1) as other:
        other.wait_for_workers(1)
        deployed.image("v3", other.port, bundle)
        deployed.cluster.leaving = 8
        code, printed = deployed.deploy("v3", SMOKE_TIMEOUT="60")
        assert other.metric("request_count_total", endpoint="/predict", status="200") == 1
    assert code == 0, printed
    assert "Deployed v3: the model another answers." in printed


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


def test_the_autoscalers_number_survives_a_roll_back_and_the_next_deploy(deployed):
    deployed.cluster.get("deployments", "mlops", "mlops-service")["spec"]["replicas"] = 3
    deployed.cluster.missing.add(f"{INFERENCE}:v3")
    assert deployed.deploy("v3")[0] == 1
    assert deployed.deploy("v2")[0] == 0
    assert deployed.cluster.get("deployments", "mlops", "mlops-service")["spec"]["replicas"] == 3

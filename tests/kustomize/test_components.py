"""The optional components: API keys for the service, a password for MLflow."""

import os
import re

import pytest

from tests.kustomize import manifests
from tests.servers import ROOT

# Those that any overlay may add; the others belong to the overlay production, see test_production.py.
COMPONENTS = [manifests.ROOT / "components" / name for name in ("api-keys", "mlflow-password", "one-namespace")]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """The overlay minikube with all components, from an overlay outside the repository."""
    folder = tmp_path_factory.mktemp("overlay")
    lines = ["apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization"]
    lines += [f"resources: [{os.path.relpath(manifests.MINIKUBE, folder)}]", "components:"]
    lines += [f"  - {os.path.relpath(component, folder)}" for component in COMPONENTS]
    (folder / "kustomization.yaml").write_text("\n".join(lines) + "\n")
    return manifests.render(folder)


def secret_of(workload, file):
    """Return the Secret that is mounted at a file's path."""
    (mount,) = (m for m in workload.container["volumeMounts"] if file.startswith(m["mountPath"] + "/"))
    assert mount["readOnly"]
    assert "subPath" not in mount, "a change of the Secret would never reach the pod"
    return workload.volumes[mount["name"]]["secret"]["secretName"]


def test_api_keys_reach_the_service_and_the_monitor(rendered):
    service = manifests.workload(rendered, "mlops-service")
    job = manifests.workload(rendered, "post-deploy-accuracy")
    assert secret_of(service, service.env["API_KEYS_FILE"]) == "api-keys"
    assert secret_of(job, job.env["PREDICT_API_KEY_FILE"]) == "predict-api-key"
    assert service.env.keys() <= manifests.SETTINGS["inference"].keys()
    assert job.env.keys() <= manifests.SETTINGS["monitor"].keys()


def test_mlflow_password_reaches_the_monitor(rendered):
    container = manifests.workload(rendered, "post-deploy-accuracy").container
    found = {e["name"]: e["valueFrom"]["secretKeyRef"] for e in container["env"] if "valueFrom" in e}
    assert found == {
        "MLFLOW_TRACKING_USERNAME": {"name": "mlflow-password", "key": "username"},
        "MLFLOW_TRACKING_PASSWORD": {"name": "mlflow-password", "key": "password"},
    }


def test_secrets_are_in_no_overlay_and_in_the_documentation(rendered, minikube):
    def used(objects):
        return {
            (workload.namespace, name)
            for workload in manifests.workloads(objects)
            for name in [
                *manifests.values(workload.spec, "secretName"),
                *(reference["name"] for reference in manifests.values(workload.spec, "secretKeyRef")),
            ]
        }

    added = used(rendered) - used(minikube)
    assert len(added) == 3
    text = (ROOT / "docs" / "security.md").read_text()
    assert added <= set(re.findall(r"kubectl create secret generic -n (\w+) ([\w-]+)", text))
    assert all(f"components/{component.name}" in text for component in COMPONENTS)

"""The components that an overlay may take: keys for the service, a password for MLflow."""

import dataclasses
import os
import re

import pytest

from services.inference import settings as inference
from services.monitor import settings as monitor
from tests.kustomize import manifests
from tests.servers import ROOT

COMPONENTS = sorted(path.parent.name for path in manifests.ROOT.glob("components/*/kustomization.yaml"))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """The minikube overlay with all components, as somebody's own overlay would have it."""
    folder = tmp_path_factory.mktemp("overlay")

    def relative(path):
        return os.path.relpath(path, folder)

    lines = ["apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization"]
    lines += [f"resources: [{relative(manifests.MINIKUBE)}]", "components:"]
    lines += [f"  - {relative(manifests.ROOT / 'components' / name)}" for name in COMPONENTS]
    (folder / "kustomization.yaml").write_text("\n".join(lines) + "\n")
    return manifests.render(folder)


def mounted(workload, file):
    """The Secret whose key of that path's last part is at that path."""
    (mount,) = (m for m in workload.container["volumeMounts"] if file.startswith(m["mountPath"] + "/"))
    assert mount["readOnly"]
    assert "subPath" not in mount, "such a file never changes, and a key could not be replaced"
    (volume,) = (v for v in workload.spec["volumes"] if v["name"] == mount["name"])
    return volume["secret"]["secretName"]


def test_the_service_asks_for_keys_and_the_monitor_has_one(rendered):
    service = manifests.workload(rendered, "mlops-service")
    job = manifests.workload(rendered, "post-deploy-accuracy")
    assert mounted(service, service.env["API_KEYS_FILE"]) == "api-keys"
    assert mounted(job, job.env["PREDICT_API_KEY_FILE"]) == "predict-api-key"
    assert service.env.keys() <= {field.name.upper() for field in dataclasses.fields(inference.Settings)}
    assert job.env.keys() <= {name.upper() for name in monitor.Settings.model_fields}


def test_the_monitor_has_a_name_and_a_password_for_mlflow(rendered):
    container = manifests.workload(rendered, "post-deploy-accuracy").container
    found = {e["name"]: e["valueFrom"]["secretKeyRef"] for e in container["env"] if "valueFrom" in e}
    assert found == {
        "MLFLOW_TRACKING_USERNAME": {"name": "mlflow-password", "key": "username"},
        "MLFLOW_TRACKING_PASSWORD": {"name": "mlflow-password", "key": "password"},
    }


def test_no_component_is_in_an_overlay_unasked():
    names = {thing["name"] for kind in ("volumes", "env") for thing in _all(manifests.render(manifests.MINIKUBE), kind)}
    assert names and not names & {"api-keys", "api-key", "MLFLOW_TRACKING_PASSWORD"}


def _all(objects, key):
    return [item for found in manifests.values(objects, key) for item in found]


@pytest.mark.parametrize("name", COMPONENTS)
def test_what_must_be_made_by_hand_is_told(name):
    text = (ROOT / "docs" / "security.md").read_text()
    assert f"components/{name}" in text
    used = set(
        re.findall(
            r"^#   (\w+) +([\w-]+) ", (manifests.ROOT / "components" / name / "kustomization.yaml").read_text(), re.M
        )
    )
    told = set(re.findall(r"kubectl create secret generic -n (\w+) ([\w-]+)", text))
    assert used and used <= told

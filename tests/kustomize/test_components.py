"""The optional components: API keys for the service, a password for MLflow, the model as an image of its own."""

import json
import os
import re
from pathlib import Path

import kubernetes_validate
import pytest

from scripts.validate import pod_security
from tests.kustomize import manifests
from tests.kustomize.test_schemas import VERSIONS
from tests.servers import ROOT

# Any overlay may add these; test_production.py covers the other components.
COMPONENTS = ("api-keys", "mlflow-password", "model-init", "model-signature", "model-volume", "one-namespace")
# Each model's component takes the place of the other.
MODEL_COMPONENTS = ("model-init", "model-volume")


def render(folder, *components, **more):
    """Render the overlay minikube with components, from an overlay outside the repository."""
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    head["resources"] = [os.path.relpath(manifests.MINIKUBE, folder)]
    head["components"] = [os.path.relpath(manifests.ROOT / "components" / name, folder) for name in components]
    (folder / "kustomization.yaml").write_text(json.dumps(head | more))
    return manifests.render(folder)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """The overlay minikube with all components but the models'."""
    return render(tmp_path_factory.mktemp("overlay"), *(set(COMPONENTS) - set(MODEL_COMPONENTS)))


@pytest.fixture(scope="module", params=[MODEL_COMPONENTS, MODEL_COMPONENTS[::-1]], ids="-then-".join)
def with_model(request, tmp_path_factory):
    """The service with both components in one order, where the last one counts."""
    images = [{"name": "inference", "newName": "localhost/mlops/inference", "newTag": "local"}]
    images += [{"name": "model", "newName": "r/model", "newTag": "m2"}]
    images += [{"name": "localhost/mlops/model", "newName": "r/model", "newTag": "m2"}]
    rendered = render(tmp_path_factory.mktemp("overlay"), *request.param, images=images)
    for thing in rendered:
        assert kubernetes_validate.validate(thing, VERSIONS[-1], strict=True)
    return request.param[-1], manifests.workload(rendered, "mlops-service")


def test_model_is_an_image_of_its_own_where_the_service_looks_for_it(with_model):
    last, service = with_model
    folder = Path(service.env["MODEL_DIR"])
    (mount,) = (m for m in service.container["volumeMounts"] if folder.is_relative_to(m["mountPath"]))
    assert mount["readOnly"]
    volume = service.volumes[mount["name"]]
    if last == "model-volume":
        assert volume["image"]["reference"] == "r/model:m2"
        assert not volume.get("emptyDir") and not service.spec.get("initContainers")
        assert folder.relative_to(mount["mountPath"]).parts == ("bundle",), "the image's folder"
    else:
        tools, model = service.spec["initContainers"]
        assert tools["image"] == service.container["image"] and model["image"] == "r/model:m2"
        assert "image" not in volume and volume["emptyDir"]["sizeLimit"]


def test_model_components_comply_with_pod_security(with_model):
    _, service = with_model
    assert not pod_security.violations(service.spec)
    for container in service.spec.get("initContainers", []):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["resources"]["limits"].keys() == {"cpu", "memory"}


def test_public_key_reaches_the_service(rendered):
    service = manifests.workload(rendered, "mlops-service")
    key = Path(service.env["MODEL_PUBLIC_KEY"])
    (mount,) = (m for m in service.container["volumeMounts"] if key.is_relative_to(m["mountPath"]))
    assert service.volumes[mount["name"]]["configMap"] == {"name": "model-public-key"}
    command = f"kubectl create configmap -n mlops model-public-key --from-file={key.name}"
    assert command in (ROOT / "docs" / "security.md").read_text()


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
    text += (ROOT / "docs" / "cluster.md").read_text()
    assert all(f"components/{component}" in text for component in COMPONENTS)

"""scripts/deploy: the model, whose version is its own."""

import json

import pytest

from tests import bundles
from tests.scripts.desk import INFERENCE, MODEL, MONITOR, VERSION
from tests.services.inference.serving import service


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Run a service with the model m2."""
    folder = tmp_path_factory.mktemp("other")
    with service(folder, MODEL_DIR=bundles.write(folder / "bundle", version="m2"), WORKERS=1) as running:
        running.wait_for_workers(1)
        yield running


@pytest.fixture
def two_models(deployed, champion, other):
    """A cluster with v1 and the shipped model deployed, and the images of two models."""
    deployed.model(VERSION, champion.port)
    deployed.model("m2", other.port)
    return deployed


def test_model_is_deployed_and_rolled_back_without_the_service(two_models):
    before = two_models.state()
    code, printed = two_models.deploy("--model", "m2")
    assert code == 0, printed
    assert "Deployed v1: the model m2 answers." in printed
    assert two_models.running() == [f"{INFERENCE}:v1", f"{MONITOR}:v1"]
    assert two_models.running_model() == "m2"
    assert [change for change in two_models.cluster.changes if "lock" not in change] == [
        "configured deployments/mlops-service"
    ]
    code, printed = two_models.deploy("--model", VERSION)
    assert code == 0, printed
    assert two_models.state() == before


def test_service_is_deployed_without_the_model(two_models):
    assert two_models.deploy("v1", "--model", "m2")[0] == 0
    code, printed = two_models.deploy("v2")
    assert code == 0, printed
    assert two_models.running()[0] == f"{INFERENCE}:v2"
    assert two_models.running_model() == "m2"


def test_model_that_was_applied_by_hand_is_kept_without_its_version(two_models, champion):
    """`kubectl apply -k` of the overlay gives it the tag local."""
    two_models.model("local", champion.port)
    assert two_models.deploy("v1", "--model", "local")[0] == 0
    code, printed = two_models.deploy("v2")
    assert code == 0, printed
    assert f"Deployed v2: the model {VERSION} answers." in printed
    assert two_models.running_model() == "local"


def test_image_volume_takes_the_place_of_the_init_container(two_models):
    two_models.overlay("volume", resources=["../minikube"], components=["../../components/model-volume"])
    code, printed = two_models.deploy("--model", "m2", OVERLAY="kustomize/overlays/volume")
    assert code == 0, printed
    assert two_models.running_model() == "m2"
    spec = two_models.cluster.get("deployments", "mlops", "mlops-service")["spec"]["template"]["spec"]
    assert not spec.get("initContainers")


def test_other_model_than_the_named_one_is_rolled_back(two_models, champion):
    two_models.model("m3", champion.port)
    code, printed = two_models.deploy("--model", "m3")
    assert code == 1, printed
    assert f"/ready names the model {VERSION}, not m3, which was deployed" in printed
    assert f"Rolled back. Running now: {INFERENCE}:v1 {MODEL}:{VERSION}\n" in printed
    assert two_models.running_model() == VERSION


def test_missing_image_of_a_model_is_rolled_back(two_models):
    two_models.cluster.missing.add(f"{MODEL}:m4")
    code, printed = two_models.deploy("--model", "m4")
    assert code == 1, printed
    assert "mlops/mlops-service cannot start: mlops-service-" in printed and "ImagePullBackOff" in printed
    assert f"model {MODEL}:m4: ImagePullBackOff" in printed
    assert two_models.running_model() == VERSION


def test_model_of_another_registry_is_not_kept(two_models, champion):
    assert two_models.deploy("--model", "m2")[0] == 0
    two_models.image("v1", champion.port, registry="ghcr.io/owner/repo")
    code, printed = two_models.deploy("v1", REGISTRY="ghcr.io/owner/repo")
    assert code == 0, printed
    assert f"ghcr.io/owner/repo/model:{VERSION}" in json.dumps(
        two_models.cluster.get("deployments", "mlops", "mlops-service")
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--model", ""], "'' is not a model's version"),
        (["v1", "--model", "latest"], "latest is not a version"),
        (["--model"], "usage: scripts/deploy"),
        (["v1", "v2"], "usage: scripts/deploy"),
        (["--model", "m2"], f"No {INFERENCE} with a tag runs in mlops: name the TAG, too."),
    ],
)
def test_wrong_version_is_refused(desk, arguments, named):
    code, printed = desk.deploy(*arguments)
    assert code == 2, printed
    assert named in printed
    assert not [change for change in desk.cluster.changes if "lock" not in change]


def test_overlay_with_the_model_in_the_service_refuses_another(desk):
    namespaces = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a"}}]
    desk.cluster.create("namespaces", "", namespaces[0])
    desk.overlay("plain", namespace="team-a", resources=["../../base"], transformers=["../../addresses"])
    code, printed = desk.deploy("v1", "--model", "m2", OVERLAY="kustomize/overlays/plain")
    assert code == 2, printed
    assert "components: [../../components/model-init]" in printed

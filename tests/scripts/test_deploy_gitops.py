"""scripts/deploy: a controller that owns the objects, and attestations of what is deployed."""

import pytest

from scripts import pin_images
from tests.scripts.desk import VERSION

GHCR = "ghcr.io/Owner/Repo.x"
FLUX = {"labels": {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}}
ARGO = {"labels": {"argocd.argoproj.io/instance": "apps"}}
ARGO_TRACKING = {"annotations": {"argocd.argoproj.io/tracking-id": "apps:apps/Deployment:mlops/mlops-service"}}


def own(desk, resource, namespace, prefix, metadata):
    """Give these labels or annotations to the first object whose name begins so."""
    found = next(
        o["metadata"] for o in desk.cluster.find(resource, namespace) if o["metadata"]["name"].startswith(prefix)
    )
    for key, values in metadata.items():
        found[key] = found.get(key, {}) | values
    desk.cluster.changes.clear()


@pytest.mark.parametrize(
    ("metadata", "owner"),
    [
        (FLUX, "Flux, by its Kustomization apps,"),
        (ARGO, "Argo CD, by its Application apps,"),
        (ARGO_TRACKING, "Argo CD, by apps:apps/Deployment:mlops/mlops-service,"),
    ],
)
def test_controller_is_named_and_nothing_touched(deployed, metadata, owner):
    own(deployed, "deployments", "mlops", "mlops-service", metadata)
    code, printed = deployed.deploy("v1")
    assert code == 2, printed
    assert f"deploy: {owner} owns what runs here and would undo this: change Git instead" in printed
    assert deployed.cluster.changes == []


def test_controller_of_any_object_is_found(deployed):
    own(deployed, "configmaps", "monitoring", "grafana-dashboards", FLUX)
    assert deployed.deploy("v1")[0] == 2


@pytest.fixture
def tool(desk):
    """Write a verifier that prints its arguments to a file, and ends with this exit code."""

    def write(name, code, message="it says so"):
        said = desk.bin.parent / f"{name}.txt"
        path = desk.bin / name
        path.write_text(f'#!/bin/sh\necho "$*" >>{said}\necho "{message}" >&2\nexit {code}\n')
        path.chmod(0o755)
        return said

    return write


@pytest.fixture
def ghcr(desk, champion):
    """A desk whose images at GHCR are answered by the service."""
    desk.image("v1", champion.port, registry=GHCR.lower())
    desk.environment["REGISTRY"] = GHCR
    return desk


def test_gh_verifies_the_images(ghcr, tool):
    said = tool("gh", 0)
    code, printed = ghcr.deploy("v1")
    assert code == 0, printed
    assert "Verified: the workflows of owner/repo.x built inference:v1 monitor:v1" in printed
    verified = [line for line in said.read_text().splitlines() if line.startswith("attestation verify")]
    assert [line.split()[2] for line in verified] == [
        f"oci://{GHCR.lower()}/{image}" for image in ("inference:v1", "monitor:v1", f"model:{VERSION}")
    ]
    assert all("--repo owner/repo.x" in line for line in verified)


def test_cosign_verifies_where_gh_is_not_logged_in(ghcr, tool):
    tool("gh", 1)
    said = tool("cosign", 0)
    code, printed = ghcr.deploy("v1")
    assert code == 0, printed
    assert len(said.read_text().splitlines()) == 3
    identity = r"(?i)^https://github\.com/owner/repo\.x/\.github/workflows/ci\.yml@"
    assert f"{identity} ghcr.io" in said.read_text()
    assert ghcr.deploy("v1", ATTESTATIONS="required")[0] == 0
    assert f"{identity}refs/heads/main$ ghcr.io" in said.read_text()


def test_private_registry_is_said_and_refused_only_where_required(ghcr, tool):
    tool("gh", 1)
    tool("cosign", 1, "GET https://ghcr.io/v2/: UNAUTHORIZED: authentication required")
    code, printed = ghcr.deploy("v1")
    assert code == 0, printed
    assert "Not verified: this machine may not read ghcr.io/owner/repo.x/inference" in printed
    assert ghcr.deploy("v1", ATTESTATIONS="required")[0] == 2


@pytest.mark.parametrize("settings", [{}, {"ATTESTATIONS": "required"}])
def test_image_that_is_not_verified_is_refused(ghcr, tool, settings):
    tool("gh", 1)
    tool("cosign", 1)
    code, printed = ghcr.deploy("v1", **settings)
    assert code == 2, printed
    assert "inference:v1 was not verified to be built by owner/repo.x" in printed and "it says so" in printed
    assert ghcr.cluster.changes == []


def test_missing_tool_is_said_and_refused_only_where_required(ghcr, tool):
    tool("gh", 1)  # not logged in; no cosign is installed where tests run
    code, printed = ghcr.deploy("v1")
    assert code == 0, printed
    assert "Not verified: gh (logged in: gh auth login) or cosign is needed" in printed
    code, printed = ghcr.deploy("v1", ATTESTATIONS="required")
    assert code == 2 and "attestations are required, but gh" in printed


def test_registry_elsewhere_is_refused_only_where_required(desk):
    code, printed = desk.deploy("v1", ATTESTATIONS="required")
    assert code == 2 and "not those at localhost/mlops" in printed
    assert desk.cluster.changes == []


def test_attestations_can_be_skipped_but_not_mistyped(ghcr, tool):
    said = tool("cosign", 1)
    assert ghcr.deploy("v1", ATTESTATIONS="skip")[0] == 0
    assert not said.exists()
    code, printed = ghcr.deploy("v1", ATTESTATIONS="maybe")
    assert code == 2 and "ATTESTATIONS=maybe" in printed


def test_overlay_production_requires_attestations(desk):
    code, printed = desk.deploy("v1", OVERLAY="kustomize/overlays/production", ATTESTATIONS="skip")
    assert code == 2, printed
    assert "attestations are required" in printed


def test_tag_replaces_published_digests_and_metrics_are_asked_on_their_port(ghcr):
    components = ["../../components/published-images", "../../components/metrics-port"]
    secret = {"name": "grafana-admin", "namespace": "monitoring", "literals": ["admin-user=a", "admin-password=b"]}
    ghcr.overlay(
        "published",
        resources=["../../base/namespaces", "../../base"],
        components=components,
        secretGenerator=[secret],
    )
    published = ghcr.repository / "kustomize/components/published-images/kustomization.yaml"
    pin_images.pin(published.parents[2], "ghcr.io/someone/else", "v0", lambda image: "sha256:" + "a" * 64)
    before = published.read_text()
    code, printed = ghcr.deploy("v1", OVERLAY="kustomize/overlays/published")
    assert code == 0, printed
    assert ghcr.running() == [f"{GHCR.lower()}/{name}:v1" for name in ("inference", "monitor")]
    assert published.read_text() == before

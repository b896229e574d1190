"""Violations of the policies are found."""

import copy

import pytest

from scripts.validate import policies
from tests.kustomize import manifests

DIGEST = "@sha256:" + "0" * 64


@pytest.fixture(scope="module")
def production():
    return manifests.render(manifests.PRODUCTION)


def found(objects, kind, name, change, production=True):
    """Return the violations after a change of one object."""
    changed = copy.deepcopy([*objects])
    change(manifests.find(changed, kind, name))
    return list(policies.violations(changed, production))


def container(thing):
    return thing["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize(
    ("image", "word"),
    [
        ("grafana/grafana:latest", "names no version"),
        ("grafana/grafana", "names no version"),
        ("registry:5000/grafana", "names no version"),
        ("grafana/grafana:13.1.3", "has no digest"),
        ("ghcr.io/someone/else/inference:v1", "has no digest"),
        ("grafana/grafana:13.1.3@sha256:abc", "has no digest"),
    ],
)
def test_image_without_version_or_digest_is_found(production, image, word):
    (violation, *_) = found(production, "Deployment", "grafana", lambda t: container(t).update(image=image))
    assert word in violation and image in violation


@pytest.mark.parametrize("image", ["grafana/grafana:13.1.3" + DIGEST, "grafana/grafana" + DIGEST])
def test_image_with_digest_is_accepted(production, image):
    assert not found(production, "Deployment", "grafana", lambda t: container(t).update(image=image))


def test_digest_is_required_in_production_only(minikube):
    assert not found(minikube, "Deployment", "grafana", lambda t: container(t).update(image="a/b:1"), production=False)


@pytest.mark.parametrize(
    ("kind", "name", "change", "word"),
    [
        ("Deployment", "grafana", lambda t: container(t)["securityContext"].update(privileged=True), "privileged"),
        ("Deployment", "grafana", lambda t: container(t)["securityContext"].pop("readOnlyRootFilesystem"), "writable"),
        ("Deployment", "grafana", lambda t: container(t).pop("resources"), "no limits"),
        ("Deployment", "mlflow", lambda t: t["spec"]["template"]["spec"]["initContainers"][0].update(image="a"), "a "),
        ("Namespace", "mlflow", lambda t: t["metadata"].pop("labels"), "not restricted"),
        ("Service", "grafana", lambda t: t["spec"].update(type="NodePort"), "NodePort"),
        ("Service", "grafana", lambda t: t["spec"].update(type="LoadBalancer"), "LoadBalancer"),
        ("ExternalSecret", "api-keys", lambda t: t["spec"]["target"].update(name="other"), "Secret api-keys"),
        ("NetworkPolicy", "acme-challenge", lambda t: t.update(kind="Secret"), "a Secret in Git"),
        ("Deployment", "mlflow", lambda t: container(t)["args"].append("host.minikube.internal"), "minikube"),
    ],
)
def test_violation_is_found(production, kind, name, change, word):
    assert any(word in violation for violation in found(production, kind, name, change))


def test_namespace_without_default_denial_is_found(production):
    changed = [t for t in production if (t["kind"], t["metadata"]["name"]) != ("NetworkPolicy", "default-deny")]
    assert {each.split()[2] for each in policies.violations(changed, True)} == {"mlops", "monitoring", "mlflow"}

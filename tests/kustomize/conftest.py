"""What is rendered, once per session."""

import pytest

from tests.kustomize import manifests


@pytest.fixture(scope="session")
def minikube() -> tuple[manifests.Object, ...]:
    """All objects of the overlay minikube."""
    return manifests.render(manifests.MINIKUBE)

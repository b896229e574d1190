"""The rendered overlay, once per session."""

import pytest

from tests.kustomize import manifests


@pytest.fixture(scope="session")
def minikube() -> tuple[manifests.Object, ...]:
    """All objects of the overlay minikube."""
    return manifests.render(manifests.MINIKUBE)


@pytest.fixture(params=manifests.WORKLOADS)
def workload(request, minikube) -> manifests.Workload:
    """Each workload of the overlay in turn."""
    return manifests.workload(minikube, request.param)


@pytest.fixture
def service(minikube) -> manifests.Workload:
    return manifests.workload(minikube, "mlops-service")


@pytest.fixture
def job(minikube) -> manifests.Workload:
    return manifests.workload(minikube, "post-deploy-accuracy")

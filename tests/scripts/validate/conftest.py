"""The rendered overlays."""

from tests.kustomize.conftest import minikube

__all__ = ["minikube"]

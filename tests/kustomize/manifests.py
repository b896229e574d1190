"""The manifests as kubectl renders them, and ways to find things in them."""

import functools
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests import servers

ROOT = servers.ROOT / "kustomize"
OVERLAYS = sorted(path.parent for path in ROOT.glob("overlays/*/kustomization.yaml"))
BASES = sorted(path.parent for path in ROOT.glob("base/*/kustomization.yaml"))
MINIKUBE = ROOT / "overlays" / "minikube"
WORKLOADS = ("mlops-service", "prometheus", "pushgateway", "grafana", "post-deploy-accuracy")

UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "MB": 10**6, "GB": 10**9, "m": 1e-3, "": 1}

Object = dict[str, Any]


@functools.cache
def render(folder: Path) -> tuple[Object, ...]:
    """The objects of a base or an overlay; whatever kubectl warns of, such as a deprecated field, fails."""
    kubectl = shutil.which("kubectl")
    assert kubectl, "Install kubectl, 1.27 or newer: https://kubernetes.io/docs/tasks/tools/"
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(objects: Sequence[Object], *kinds: str) -> list[Object]:
    return [thing for thing in objects if thing["kind"] in kinds]


def find(objects: Sequence[Object], kind: str, name: str, namespace: str | None = None) -> Object:
    """The one object of this kind and name; a generated name is given without its hash."""
    found = [
        thing
        for thing in of_kind(objects, kind)
        if thing["metadata"]["name"] == name
        or (kind in ("ConfigMap", "Secret") and thing["metadata"]["name"].rpartition("-")[0] == name)
    ]
    found = [thing for thing in found if namespace in (None, thing["metadata"].get("namespace"))]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


@dataclass(frozen=True)
class Workload:
    """What makes pods: its kind, name and namespace, and the pods' labels and specification."""

    kind: str
    name: str
    namespace: str
    labels: dict[str, str]
    spec: dict[str, Any]

    @property
    def container(self) -> dict[str, Any]:
        (container,) = self.spec["containers"]
        return container  # type: ignore[no-any-return]

    @property
    def env(self) -> dict[str, str]:
        """The environment variables that have a value of their own."""
        return {entry["name"]: entry["value"] for entry in self.container.get("env", []) if "value" in entry}


def workloads(objects: Sequence[Object]) -> list[Workload]:
    return [
        Workload(
            thing["kind"],
            thing["metadata"]["name"],
            thing["metadata"]["namespace"],
            template["metadata"]["labels"],
            template["spec"],
        )
        for thing, template in _templates(objects)
    ]


def workload(objects: Sequence[Object], name: str) -> Workload:
    (found,) = (each for each in workloads(objects) if each.name == name)
    return found


def _templates(objects: Sequence[Object]) -> Iterator[tuple[Object, dict[str, Any]]]:
    for thing in objects:
        spec = thing.get("spec", {})
        spec = spec["jobTemplate"]["spec"] if thing["kind"] == "CronJob" else spec
        if "template" in spec:
            yield thing, spec["template"]


def values(tree: object, *keys: str) -> Iterator[Any]:
    """Every value that stands under one of these keys, at any depth."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key in keys:
                yield value
            yield from values(value, *keys)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from values(value, *keys)


def amount(quantity: str) -> float:
    """A quantity as a number: bytes, or processors."""
    match = re.fullmatch(r"(\d+)(\w*)", quantity)
    assert match, quantity
    return int(match[1]) * UNITS[match[2]]

"""Render the manifests with kubectl, and find things in them."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
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
PRODUCTION = ROOT / "overlays" / "production"
WORKLOADS = ("mlops-service", "prometheus", "pushgateway", "grafana", "post-deploy-accuracy")
SETTINGS: dict[str, dict[str, str]] = json.loads((servers.ROOT / "tests/contract/golden/settings.json").read_text())
"""The settings of the service and of the monitor, with their defaults."""

UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "MB": 10**6, "GB": 10**9, "m": 1e-3, "": 1}

Object = dict[str, Any]


@functools.cache
def render(folder: Path) -> tuple[Object, ...]:
    """Render a base or an overlay; any warning of kubectl, such as a deprecated field, is a failure."""
    kubectl = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert kubectl, "Install kubectl: https://kubernetes.io/docs/tasks/tools/"
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


@functools.cache
def render_bases() -> tuple[Object, ...]:
    """Render all bases."""
    return tuple(thing for folder in BASES for thing in render(folder))


def of_kind(objects: Sequence[Object], *kinds: str) -> list[Object]:
    """Return the objects of these kinds."""
    return [thing for thing in objects if thing["kind"] in kinds]


def find(objects: Sequence[Object], kind: str, name: str, namespace: str | None = None) -> Object:
    """Return the one object of this kind and name; a generated name is given without its hash."""
    generated = kind in ("ConfigMap", "Secret")
    (found,) = (
        thing
        for thing in of_kind(objects, kind)
        if name in (thing["metadata"]["name"], thing["metadata"]["name"].rpartition("-")[0] if generated else None)
        and namespace in (None, thing["metadata"].get("namespace"))
    )
    return found


@dataclass(frozen=True)
class Workload:
    """An object with pods: its kind, name and namespace, and the pods' labels and specification."""

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
        """The environment variables with a literal value."""
        return {entry["name"]: entry["value"] for entry in self.container.get("env", []) if "value" in entry}

    def env_in(self, folder: Path) -> dict[str, str]:
        """Return the environment with every path moved into a folder, and created there."""
        moved = {name: str(folder) + value if value.startswith("/") else value for name, value in self.env.items()}
        for name, value in moved.items():
            if value.startswith(str(folder)):
                (Path(value).parent if name.endswith("_FILE") else Path(value)).mkdir(parents=True, exist_ok=True)
        return moved

    @property
    def volumes(self) -> dict[str, dict[str, Any]]:
        return {volume["name"]: volume for volume in self.spec.get("volumes", [])}


def workloads(objects: Sequence[Object]) -> list[Workload]:
    """Return everything with pods."""
    found = []
    for thing in objects:
        metadata, spec = thing["metadata"], thing.get("spec", {})
        template = spec.get("jobTemplate", thing).get("spec", {}).get("template")
        if template:
            labels = template["metadata"]["labels"]
            found.append(Workload(thing["kind"], metadata["name"], metadata["namespace"], labels, template["spec"]))
    return found


def workload(objects: Sequence[Object], name: str) -> Workload:
    """Return the workload with this name."""
    (found,) = (each for each in workloads(objects) if each.name == name)
    return found


def values(tree: object, *keys: str) -> Iterator[Any]:
    """Yield every value under one of these keys, at any depth."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key in keys:
                yield value
            yield from values(value, *keys)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from values(value, *keys)


def amount(quantity: str) -> float:
    """Convert a quantity to a number of bytes or CPUs."""
    match = re.fullmatch(r"(\d+)(\w*)", quantity)
    assert match, quantity
    return int(match[1]) * UNITS[match[2]]

"""Find and render everything that a cluster may be given."""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
KUSTOMIZE = ROOT / "kustomize"
# Ten times as fast; not every build of PyYAML has it.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Object = dict[str, Any]


class BuildError(Exception):
    """A folder cannot be rendered, or a file cannot be read."""


@dataclass(frozen=True)
class Build:
    """Objects that are applied together: a folder with components, or plain files."""

    name: str
    folder: Path | None = None
    components: Sequence[str] = ()
    files: Sequence[Path] = field(default=())

    @property
    def production(self) -> bool:
        """Tell whether the policies for production hold."""
        return "production" in self.name

    def objects(self) -> list[Object]:
        """Render the folder, or read the files.

        Raises:
            BuildError: The folder cannot be rendered without errors and warnings, or a file is no YAML.
        """
        if self.folder is None:
            return [thing for path in self.files for thing in _load(path.read_text(), path.name)]
        return _load(_render(self.folder, tuple(self.components)), self.name)


def all_builds() -> Iterator[Build]:
    """Yield everything that somebody may apply: overlays, components, clusters and what these reconcile."""
    for path in sorted(KUSTOMIZE.glob("*/*/kustomization.yaml")):
        folder = path.parent
        name = folder.relative_to(KUSTOMIZE).as_posix()
        if yaml.safe_load(path.read_text())["kind"] == "Component":
            yield Build(name, KUSTOMIZE / "overlays" / "minikube", [f"../../{name}"])
        elif folder.parent.name == "overlays":
            yield Build(name, folder)
    for cluster in sorted((ROOT / "clusters").iterdir()):
        for controller in sorted(folder for folder in cluster.iterdir() if folder.is_dir()):
            name = controller.relative_to(ROOT).as_posix()
            if (controller / "kustomization.yaml").exists():
                yield Build(name, controller)
                continue
            files = Build(name, files=sorted(controller.glob("*.yaml")))
            yield files
            yield from _reconciled(name, files.objects())


def _reconciled(name: str, objects: Sequence[Object]) -> Iterator[Build]:
    """Yield what a Flux Kustomization or an Argo CD Application applies."""
    for thing in objects:
        spec, label = thing["spec"], f"{name} {thing['metadata']['name']}"
        if thing["kind"] == "Kustomization":
            yield Build(label, ROOT / spec["path"], spec.get("components", ()))
        elif thing["kind"] == "Application":
            source = spec["source"]
            yield Build(label, ROOT / source["path"], source.get("kustomize", {}).get("components", ()))


@functools.cache
def _render(folder: Path, components: tuple[str, ...]) -> str:
    """Render a folder, with further components in its own kustomization, as Flux and Argo CD do."""
    if not components:
        return _kustomize(folder)
    with tempfile.TemporaryDirectory() as temporary:
        shutil.copytree(KUSTOMIZE, Path(temporary) / "kustomize")
        copied = Path(temporary) / folder.relative_to(ROOT)
        path = copied / "kustomization.yaml"
        kustomization = yaml.safe_load(path.read_text())
        kustomization["components"] = [*kustomization.get("components", []), *components]
        path.write_text(yaml.safe_dump(kustomization))
        return _kustomize(copied)


def _kustomize(folder: Path) -> str:
    kubectl = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not kubectl:
        raise BuildError("kubectl is not installed: https://kubernetes.io/docs/tasks/tools/")
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode or done.stderr:
        raise BuildError(done.stderr.strip())
    return done.stdout


def _load(text: str, name: str) -> list[Object]:
    try:
        return [thing for thing in yaml.load_all(text, LOADER) if thing]
    except yaml.YAMLError as error:
        raise BuildError(f"{name} is no YAML: {error}") from error

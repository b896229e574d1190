"""podman and buildah for tests: images built from a copy of the tree, containers that end with their block."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers import ROOT, environment

REGISTRY = "localhost/mlops-tests"
BASE = "localhost/python-stand-in:3.11-slim"
ENVIRONMENT = {"CONTAINERS_CONF": str(Path(__file__).with_name("containers.conf"))}
# What Kubernetes' `restricted` asks for, and a root file system that nobody writes to.
HARDENED = (
    *("--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"),
    *("--tmpfs=/tmp", "--tmpfs=/metrics", "--env=PROMETHEUS_MULTIPROC_DIR=/metrics"),
)


def podman(*arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run podman; fail with what it said if it does and ``check`` is true."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    done = subprocess.run(["podman", *arguments], env=os.environ | ENVIRONMENT, **pipes | options)
    assert not check or done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr.decode()}"
    return done


def inspect(name: str) -> dict[str, Any]:
    """All that podman knows of an image or a container."""
    (found,) = json.loads(podman("inspect", name).stdout)
    return found  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Image:
    """A built image."""

    name: str

    @property
    def size(self) -> int:
        """Bytes that it adds to its base, uncompressed."""
        return int(inspect(self.name)["Size"]) - int(inspect(BASE)["Size"])

    @property
    def layers(self) -> list[str]:
        return list(inspect(self.name)["RootFS"]["Layers"])

    def look(self, script: str) -> str:
        """What a script prints that this machine runs in the image's root folder: inside is no shell."""
        root = podman("image", "mount", self.name).stdout.decode().strip()
        try:
            return subprocess.run(["sh", "-ec", script], cwd=root, check=True, capture_output=True, text=True).stdout
        finally:
            podman("image", "unmount", self.name)

    def run(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command as root in a container of its own."""
        return podman("run", "--rm", "--user=0", "--network=none", self.name, *command, check=False)


@dataclass(frozen=True)
class Container:
    """A running container."""

    name: str

    def run(self, *command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run a command inside."""
        return podman("exec", "--interactive", self.name, *command, check=check, **options)

    def logs(self) -> str:
        return podman("logs", self.name, stderr=subprocess.STDOUT).stdout.decode()


@contextlib.contextmanager
def container(image: Image, *options: str, command: tuple[str, ...] = ()) -> Iterator[Container]:
    """Run an image, hardened, until the block ends."""
    name = podman("run", "--detach", *HARDENED, *options, image.name, *command).stdout.decode().strip()
    try:
        yield Container(name)
    finally:
        podman("rm", "--force", "--time=0", name)


def context(folder: Path) -> Path:
    """A checkout with today's files, all readable by their owner only, and with what must not get into an image."""
    parts = ("Dockerfile", ".dockerignore", "docs", "models", "scripts", "services", "tests/services/inference")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *parts],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        target = folder / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copyfile(ROOT / name, target)
            target.chmod(0o700 if os.access(ROOT / name, os.X_OK) else 0o600)
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@example.com", "-C", str(folder))
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=copy"], check=True)
    for name in ("data/cat.jpg", "services/.env", "services/inference/__pycache__/old.pyc", "models/other/model.onnx"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("must stay out")
    return folder


def build(folder: Path, tag: str, options: str = "") -> dict[str, Image]:
    """Build both images from a checkout without a registry, as its script does."""
    done = subprocess.run(
        [folder / "scripts" / "images_without_registry", tag],
        env=environment() | ENVIRONMENT | {"REGISTRY": REGISTRY, "PYTHON": sys.executable, "OPTIONS": options},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout.decode()[-4000:]
    return {target: Image(f"{REGISTRY}/{target}:{tag}") for target in ("inference", "monitor")}

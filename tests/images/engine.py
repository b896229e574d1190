"""podman and buildah for tests: build images from a copy of the tree, run containers until a block ends."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers import ROOT, environment

REGISTRY = "localhost/mlops-tests"
ENVIRONMENT = {"CONTAINERS_CONF": str(Path(__file__).with_name("containers.conf"))}
# Kubernetes' `restricted`, and a read-only root.
HARDENED = (
    *("--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"),
    *("--tmpfs=/tmp", "--tmpfs=/metrics", "--env=PROMETHEUS_MULTIPROC_DIR=/metrics"),
)
# Send a request from inside a container, with the body from stdin.
REQUEST = """
import sys, urllib.error, urllib.request
body = sys.stdin.buffer.read() or None
request = urllib.request.Request(sys.argv[1], body, {"Content-Type": "image/jpeg"})
try:
    response = urllib.request.urlopen(request, timeout=30)
except urllib.error.HTTPError as error:
    response = error
sys.stdout.buffer.write(b"%d\\n" % response.status + response.read())
"""


def podman(*arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run podman; with ``check``, a failure raises its error message."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    done = subprocess.run(["podman", *arguments], env=os.environ | ENVIRONMENT, **pipes | options)
    assert not check or done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr.decode()}"
    return done


def inspect(name: str) -> dict[str, Any]:
    """Return podman's description of an image or a container."""
    (found,) = json.loads(podman("inspect", name).stdout)
    return found  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Image:
    """A built image."""

    name: str

    @property
    def target(self) -> str:
        """The image's own name."""
        return self.name.rpartition("/")[2].partition(":")[0]

    @property
    def size(self) -> int:
        """Bytes without compression, less the base's one layer."""
        return sum(layer["size"] for layer in json.loads(podman("history", "--format=json", self.name).stdout)[:-1])

    @property
    def layers(self) -> list[str]:
        return list(inspect(self.name)["RootFS"]["Layers"])

    def inspect_files(self, script: str) -> str:
        """Run a shell script of this machine in the image's root folder, and return its output."""
        root = podman("image", "mount", self.name).stdout.decode().strip()
        try:
            return subprocess.run(["sh", "-ec", script], cwd=root, check=True, capture_output=True, text=True).stdout
        finally:
            podman("image", "unmount", self.name)

    def run(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command as root in a new container."""
        return podman("run", "--rm", "--user=0", "--network=none", self.name, *command, check=False)


@dataclass(frozen=True)
class Container:
    """A running container."""

    name: str

    def run(self, *command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run a command inside."""
        # Where stdin is at its end, podman 4.3 may lose the output.
        interactive = ["--interactive"] if "input" in options else []
        return podman("exec", *interactive, self.name, *command, check=check, **options)

    def logs(self) -> str:
        """Return stdout and stderr."""
        return podman("logs", self.name, stderr=subprocess.STDOUT).stdout.decode()

    def request(self, path: str, body: bytes = b"", port: int = 8000, check: bool = True) -> tuple[int, bytes]:
        """Send a request to the service from inside; return its status and body, or 0 if it does not listen."""
        address = f"http://127.0.0.1:{port}{path}"
        status, _, answer = self.run("python", "-c", REQUEST, address, input=body, check=check).stdout.partition(b"\n")
        return int(status or 0), answer

    def wait_until_ready(self, port: int = 8000, seconds: float = 60) -> None:
        """Wait until the service has a model."""
        deadline = time.monotonic() + seconds
        while self.request("/ready", port=port, check=False)[0] != 200:
            assert time.monotonic() < deadline, self.logs()


@contextlib.contextmanager
def container(image: Image, *options: str, command: tuple[str, ...] = ()) -> Iterator[Container]:
    """Run an image, hardened, until the block ends."""
    name = podman("run", "--detach", *HARDENED, *options, image.name, *command).stdout.decode().strip()
    try:
        yield Container(name)
    finally:
        podman("rm", "--force", "--time=0", name)


def context(folder: Path) -> Path:
    """Create a checkout that is readable by its owner only, and has files that must not get into an image."""
    parts = (
        "Dockerfile",
        ".dockerignore",
        "bundle",
        "docs",
        "models",
        "scripts",
        "services",
        "tests/services/inference",
    )
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
    for command in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "--message=copy")):
        subprocess.run([*git, *command], check=True)
    for name in ("data/cat.jpg", "services/.env", "services/inference/__pycache__/old.pyc", "models/other/model.onnx"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("must stay out")
    return folder


def build(folder: Path, tag: str, options: str = "") -> dict[str, Image]:
    """Build all images from a checkout with its script for builds without a registry."""
    done = subprocess.run(
        [folder / "scripts" / "images_without_registry", tag],
        env=environment() | ENVIRONMENT | {"REGISTRY": REGISTRY, "PYTHON": sys.executable, "OPTIONS": options},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout.decode()[-4000:]
    return {target: Image(f"{REGISTRY}/{target}:{tag}") for target in ("inference", "monitor", "model")}

"""Build the OCI image of a bundle, with Docker, Podman or Buildah."""

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ml.errors import UserError

ROOT = Path(__file__).parents[2]
ENGINES = ("docker", "podman", "buildah")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
DOCKER_HUB = re.compile(r"^(index\.)?docker\.io/")


class ImageError(UserError):
    """Raised when the image cannot be built or pushed."""


@dataclass(frozen=True)
class Image:
    """A built image: its name with the tag, and its digest or, on this machine only, its id."""

    name: str
    digest: str


def publish(folder: Path, version: str, registry: str, engine: str, push: bool) -> Image:
    """Build ``REGISTRY/model:VERSION`` of a bundle's folder, and push it if asked to.

    Raises:
        ImageError: The engine is missing or fails, or the version cannot be a tag.
    """
    if not shutil.which(engine):
        raise ImageError(f"{engine} is not installed. Install it, or name what is: --engine {' or '.join(ENGINES)}.")
    if not TAG.fullmatch(version) or version == "latest":
        raise ImageError(f"The version {version!r} cannot be an image's tag: letters, digits and _ . - only.")
    # Registries know lower case only, but owners of repositories may be written otherwise.
    name = f"{registry.lower()}/model:{version}"
    with tempfile.TemporaryDirectory() as temporary:
        result = Path(temporary, "digest")
        options = [] if engine == "docker" else ["--format", "docker"]
        options += ["--build-context", f"bundle={folder.resolve()}", "--build-arg", f"VERSION={version}"]
        _run(engine, "build", *options, "--target", "model", "--tag", name, "--iidfile", str(result), str(ROOT))
        if not push:
            return Image(name, result.read_text().strip())
        if engine == "docker":
            _run(engine, "push", name)
            # docker leaves out the name of its own registry.
            repository = DOCKER_HUB.sub("", name.rpartition(":")[0])
            digests = _run(engine, "image", "inspect", "--format", '{{join .RepoDigests "\\n"}}', name).split()
            found = [digest for digest in digests if digest.startswith(f"{repository}@")]
            if not found:
                raise ImageError(f"docker knows no digest of {name} after the push: publish it with --engine podman.")
            return Image(name, found[-1].rpartition("@")[2])
        _run(engine, "push", "--digestfile", str(result), name)
        return Image(name, result.read_text().strip())


def _run(*command: str) -> str:
    # An image with attestations is an index of several, which not every cluster loads.
    env = os.environ | {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise ImageError(f"`{' '.join(command[:2])}` failed: {reason[0]}")
    return done.stdout

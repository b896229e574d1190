"""Write the digests of images into the manifests: REGISTRY=ghcr.io/owner/repository python -m scripts.pin_images TAG.

Those of this repository's images go to kustomize/components/published-images. Images of others that have a tag and no
digest yet get theirs, too. Docker with buildx looks them up.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

KUSTOMIZE = Path(__file__).resolve().parents[1] / "kustomize"
PUBLISHED = Path("components/published-images/kustomization.yaml")
ENTRY = re.compile(r"^  - name: (?P<name>[\w-]+)\n    newName: .+\n    (?:newTag|digest): .+$", re.MULTILINE)
REPOSITORY = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+")
TAGGED = re.compile(r"^(?P<start> *(?:- )?image: )(?P<image>[\w./-]+:[\w.-]+)$", re.MULTILINE)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def pin(folder: Path, registry: str, tag: str, look_up: Callable[[str], str]) -> list[Path]:
    """Write the digests into the manifests of a folder, and return the files that changed.

    Args:
        folder: The folder with ``base`` and ``components``.
        registry: The first part of our images' names, in lower case.
        tag: The tag that was published.
        look_up: Returns the digest of an image.
    """

    def ours(match: re.Match[str]) -> str:
        name = f"{registry}/{match['name']}"
        # The model is published by its own version: many commits serve the same.
        published = champion_version() if match["name"] == "model" else tag
        return f"  - name: {match['name']}\n    newName: {name}\n    digest: {look_up(f'{name}:{published}')}"

    def theirs(match: re.Match[str]) -> str:
        return f"{match['start']}{match['image']}@{look_up(match['image'])}"

    changed = []
    for path in sorted(folder.rglob("*.yaml")):
        before = path.read_text()
        pattern, replacement = (ENTRY, ours) if path == folder / PUBLISHED else (TAGGED, theirs)
        after = pattern.sub(replacement, before)
        if path == folder / PUBLISHED and registry.startswith("ghcr.io/"):
            after = REPOSITORY.sub("https://github.com/" + "/".join(registry.split("/")[1:3]), after)
        if after != before:
            path.write_text(after)
            changed.append(path)
    return changed


def champion_version() -> str:
    """Return the version of the shipped model."""
    version: str = json.loads((KUSTOMIZE.parent / "models/champion/manifest.json").read_text())["version"]
    return version


def look_up_with_docker(image: str) -> str:
    """Return the digest of an image in its registry.

    Raises:
        SystemExit: Docker does not find it.
    """
    command = ["docker", "buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}", image]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        sys.exit("pin_images: docker is not installed: https://docs.docker.com/get-docker/")
    digest = done.stdout.strip()
    if done.returncode or not DIGEST.fullmatch(digest):
        sys.exit(f"pin_images: {image} has no digest: {done.stderr.strip() or digest}")
    return digest


def main() -> None:
    """Pin the images of the tag that the command line names."""
    registry = os.environ.get("REGISTRY", "").lower()
    if len(sys.argv) != 2 or not re.fullmatch(r"[a-z0-9.:-]+(/[a-z0-9._-]+)+", registry):
        sys.exit(f"usage: {(__doc__ or '').splitlines()[0].partition(': ')[2]}")
    for path in pin(KUSTOMIZE, registry, sys.argv[1], look_up_with_docker):
        print(path.relative_to(KUSTOMIZE.parent))


if __name__ == "__main__":
    main()

"""Read a bundle folder and check it."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from bundle import files, signature
from bundle.files import BundleError
from bundle.manifest import MANIFEST_FILE, MODEL_FILE, SCHEMA_VERSION, Manifest

# The bundle that the repository ships.
CHAMPION = Path("models/champion")


@dataclass(frozen=True)
class Bundle:
    """A valid manifest, and a model file with the hash in the manifest."""

    manifest: Manifest
    model: bytes


def load(folder: Path, public_key: Path | None = None) -> Bundle:
    """Read and check a bundle.

    Args:
        folder: The bundle.
        public_key: PEM file of the key that must have signed it; by default it need not be signed.

    Raises:
        BundleError: A file is missing, the manifest is invalid, the model's hash differs, or it is not signed.
    """
    path = folder / MODEL_FILE
    content = files.read(folder / MANIFEST_FILE)
    manifest = _manifest(folder / MANIFEST_FILE, content)
    model = files.read(path)
    if public_key:
        signature.verify(folder, public_key, {MANIFEST_FILE: content, MODEL_FILE: model})
    sha256 = hashlib.sha256(model).hexdigest()
    if sha256 != manifest.model_sha256:
        raise BundleError(
            f"{path}: SHA-256 is {sha256[:12]}…, but {MANIFEST_FILE} says {manifest.model_sha256[:12]}…: "
            "the two files do not belong together, or the copy is damaged."
        )
    return Bundle(manifest, model)


def _manifest(path: Path, content: bytes) -> Manifest:
    try:
        raw = json.loads(content)
    except ValueError as error:
        raise BundleError(f"{path}: is not JSON ({error}).") from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"{path}: schema_version is {version!r}, but this service reads {SCHEMA_VERSION}: "
            "use a service and a bundle of the same age."
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path}: {place}: {first['msg']}.") from error

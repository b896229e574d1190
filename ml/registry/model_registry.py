"""Register, promote and fetch bundles in MLflow's model registry."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from bundle.files import BundleError
from bundle.load import Bundle, load
from bundle.manifest import MANIFEST_FILE, Manifest
from ml.data.dataset import Dataset
from ml.data.folder import slug
from ml.errors import UserError
from ml.registry import champions
from ml.registry.gate import Verdict, gate
from ml.tracking.client import Failure, file_timeout, reason

CHALLENGER = "challenger"
CHAMPION = "champion"
BUNDLE_FOLDER = "bundle"
SHA256_TAG = "model_sha256"
VERSION_TAG = "bundle_version"
IMAGE_TAG = "image"
# MLflow's error codes for a missing model and for an alias that is not set.
MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


class RegistryError(UserError):
    """Raised when the registry refuses, or holds a damaged bundle."""


@contextlib.contextmanager
def _explained(action: str) -> Iterator[None]:
    with file_timeout():
        try:
            yield
        except Failure as error:
            raise RegistryError(f"MLflow does not {action}: {reason(error)}.") from error


def register(client: MlflowClient, bundle: Bundle, run_id: str) -> ModelVersion:
    """Register a run's logged bundle as the challenger of the model named after the data set.

    Raises:
        RegistryError: MLflow refuses it, or does not have the run's complete bundle.
    """
    manifest, name = bundle.manifest, model_name(bundle.manifest.name)
    tags = {VERSION_TAG: manifest.version, SHA256_TAG: manifest.model_sha256}
    with _explained(f"register {name}"):
        source = f"{client.get_run(run_id).info.artifact_uri}/{bundle_path(manifest)}"
        # A registered bundle may be fetched and served, so detect an interrupted upload now.
        _load(client, source, manifest.model_sha256)
        with contextlib.suppress(MlflowException):  # it exists, or the next call reports the problem
            client.create_registered_model(name)
        version = client.create_model_version(name, source, run_id, tags=tags, await_creation_for=0)
        client.set_registered_model_alias(name, CHALLENGER, version.version)
    return version


def model_name(data_name: str) -> str:
    """Return the registered model's name for a data set, in characters that MLflow accepts."""
    return slug(data_name)


def only_name(client: MlflowClient) -> str:
    """Return the name of the only registered model.

    Raises:
        RegistryError: There are none or several.
    """
    names = [model.name for model in client.search_registered_models()]
    if len(names) != 1:
        known = ", ".join(names) or "none"
        raise RegistryError(f"MLflow's registry holds {len(names)} models ({known}): name one with --name.")
    return str(names[0])


def bundle_path(manifest: Manifest) -> str:
    """Return the artifact path of a bundle; a resumed run has one for each time it ended."""
    return f"{BUNDLE_FOLDER}/{manifest.version}"


def promote(client: MlflowClient, name: str, version: str, verdict: str = champions.BY_HAND) -> None:
    """Make a registered version the champion, and store when and why.

    Raises:
        RegistryError: MLflow refuses.
    """
    with _explained(f"make version {version} of {name} the champion"):
        client.set_registered_model_alias(name, CHAMPION, version)
        champions.record(client, name, version, verdict)


def find_version(client: MlflowClient, name: str, version: str) -> ModelVersion | None:
    """Find a registered version by its alias, its number, or its bundle's version.

    Raises:
        RegistryError: MLflow does not answer or refuses.
    """
    if version in (CHAMPION, CHALLENGER):
        return find(client, name, version)
    # The newest first, as a bundle may be registered twice.
    for found in versions(client, name):
        if version in (str(found.version), found.tags.get(VERSION_TAG)):
            return found
    return None


def versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """List the registered versions of a model, the newest first.

    Raises:
        RegistryError: MLflow does not answer or refuses.
    """
    with _explained(f"list the versions of {name}"):
        found = client.search_model_versions(f"name = '{name}'")
    return sorted(found, key=lambda version: int(version.version), reverse=True)


def fetch(client: MlflowClient, name: str, alias: str) -> Bundle | None:
    """Download the bundle of an alias; None if the alias is not set.

    Raises:
        RegistryError: MLflow does not return it, or its hash differs.
    """
    version = find(client, name, alias)
    return download(client, version) if version else None


def find(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """Find the registered version of an alias; None if the alias is not set.

    Raises:
        RegistryError: MLflow does not answer or refuses.
    """
    with _explained(f"return {name}@{alias}"):
        try:
            return client.get_model_version_by_alias(name, alias)
        except MlflowException as error:
            if error.error_code not in MISSING:
                raise
    return None


def download(client: MlflowClient, version: ModelVersion) -> Bundle:
    """Download the bundle of a registered version and check it against the registered hash.

    Raises:
        RegistryError: MLflow does not return it, or its hash differs.
    """
    with _explained(f"return the bundle of {version.name} version {version.version}"):
        return _load(client, str(version.source), version.tags.get(SHA256_TAG))


def _load(client: MlflowClient, source: str, sha256: str | None) -> Bundle:
    with tempfile.TemporaryDirectory() as folder:
        path = mlflow.artifacts.download_artifacts(
            artifact_uri=source, dst_path=folder, tracking_uri=client.tracking_uri
        )
        try:
            bundle = load(Path(path))
        except BundleError as error:
            problem = str(error).replace(f"{path}/", "")
            raise RegistryError(f"MLflow's bundle at {source} is damaged ({problem})") from error
    if bundle.manifest.model_sha256 != sha256:
        raise RegistryError(f"The bundle at {source} is not the registered one: its hash differs.")
    return bundle


def served_bundle(folder: Path, data: Dataset) -> Bundle | None:
    """Load the bundle served so far, which may come from elsewhere; None if it has other classes.

    Raises:
        BundleError: The bundle is damaged.
    """
    if not (folder / MANIFEST_FILE).exists():
        return None
    bundle = load(folder)
    return bundle if bundle.manifest.classes == list(data.classes) else None


def challenge(
    client: MlflowClient, version: ModelVersion, challenger: Bundle, data: Dataset, served: Bundle | None
) -> Verdict:
    """Put a registered challenger through the gate on the test split, and promote it if it passes.

    If the served bundle is not the registry's champion, the challenger must pass against both.

    Raises:
        RegistryError: MLflow refuses.
        GateError: The bundles cannot be compared.
    """
    champion = fetch(client, version.name, CHAMPION)
    verdict = gate(challenger, champion or served, data)
    # The two differ after a `git pull` with a new champion, or after restoring an older one.
    differ = champion and served and champion.manifest.model_sha256 != served.manifest.model_sha256
    if verdict.promoted and differ:
        verdict = gate(challenger, served, data)
    if verdict.promoted:
        promote(client, version.name, version.version, verdict.summary())
    return verdict

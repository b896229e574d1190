"""MLflow's model registry: challenger and champion, and the gate between them."""

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from bundle.load import Bundle, BundleError, load
from bundle.manifest import MANIFEST_FILE, Manifest
from bundle.preprocess import ImageError
from ml.data import exclude, report
from ml.data.dataset import Dataset
from ml.data.folder import slug
from ml.data.scan import collect
from ml.errors import UserError
from ml.export.write_bundle import write
from ml.registry.gate import Verdict, gate
from ml.tracking.tracker import DEFAULT_ADDRESS, Failure, connect, reason

CHALLENGER = "challenger"
CHAMPION = "champion"
BUNDLE_FOLDER = "bundle"
SHA256_TAG = "model_sha256"
# Where the service looks unless it is told otherwise.
SERVED = Path("models/champion")
# MLflow's words for a model that is not there, and for an alias that is not set.
MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


class RegistryError(UserError):
    """The registry cannot do what was asked; the message is one sentence that says why."""


def register(client: MlflowClient, bundle: Bundle, run_id: str) -> ModelVersion:
    """Register the bundle that a run logged, as the challenger of the model with the data set's name.

    Raises:
        RegistryError: MLflow does not take it, or does not have the run's bundle whole.
    """
    manifest, name = bundle.manifest, model_name(bundle.manifest.name)
    tags = {"bundle_version": manifest.version, SHA256_TAG: manifest.model_sha256}
    try:
        source = f"{client.get_run(run_id).info.artifact_uri}/{bundle_path(manifest)}"
        # What was registered could be fetched and served: an upload that broke off is found here.
        _download(client, source, manifest.model_sha256)
        with contextlib.suppress(MlflowException):  # it is there already, or the next call says what is wrong
            client.create_registered_model(name)
        version = client.create_model_version(name, source, run_id, tags=tags, await_creation_for=0)
        client.set_registered_model_alias(name, CHALLENGER, version.version)
    except Failure as error:
        raise RegistryError(f"MLflow does not register {name}: {reason(error)}.") from error
    return version


def model_name(data_name: str) -> str:
    """The registered model's name for a data set's, in letters that MLflow takes."""
    return slug(data_name)


def bundle_path(manifest: Manifest) -> str:
    """Where a run keeps a bundle among its artifacts; a resumed run has one for each end it came to."""
    return f"{BUNDLE_FOLDER}/{manifest.version}"


def promote(client: MlflowClient, name: str, version: str) -> None:
    """Make a registered version the champion."""
    try:
        client.set_registered_model_alias(name, CHAMPION, version)
    except Failure as error:
        raise RegistryError(
            f"MLflow does not make version {version} of {name} the champion: {reason(error)}."
        ) from error


def fetch(client: MlflowClient, name: str, alias: str) -> Bundle | None:
    """Bring a bundle back out of MLflow, checked against the hash in the registry; None if the alias is not set.

    Raises:
        RegistryError: MLflow does not give it, or its hash is not the registered one.
    """
    version = _find(client, name, alias)
    return _bundle(client, version) if version else None


def _find(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    try:
        return client.get_model_version_by_alias(name, alias)
    except Failure as error:
        if isinstance(error, MlflowException) and error.error_code in MISSING:
            return None
        raise RegistryError(f"MLflow does not say what {name}@{alias} is: {reason(error)}.") from error


def _bundle(client: MlflowClient, version: ModelVersion) -> Bundle:
    try:
        return _download(client, str(version.source), version.tags.get(SHA256_TAG))
    except Failure as error:
        raise RegistryError(
            f"MLflow does not give the bundle of {version.name} version {version.version}: {reason(error)}."
        ) from error


def _download(client: MlflowClient, source: str, sha256: str | None) -> Bundle:
    with tempfile.TemporaryDirectory() as folder:
        path = mlflow.artifacts.download_artifacts(
            artifact_uri=source, dst_path=folder, tracking_uri=client.tracking_uri
        )
        try:
            bundle = load(Path(path))
        except BundleError as error:
            problem = str(error).replace(f"{path}/", "")
            raise RegistryError(f"What MLflow holds at {source} is no sound bundle ({problem})") from error
    if bundle.manifest.model_sha256 != sha256:
        raise RegistryError(f"The bundle at {source} is not the one that was registered: its hash differs.")
    return bundle


def served_bundle(folder: Path, data: Dataset) -> Bundle | None:
    """The bundle served so far, if it answers for the same classes; it may have been trained elsewhere.

    Raises:
        BundleError: There is one, but it is damaged.
    """
    if not (folder / MANIFEST_FILE).exists():
        return None
    bundle = load(folder)
    return bundle if bundle.manifest.classes == list(data.classes) else None


def submit(client: MlflowClient, bundle: Bundle, run_id: str, data: Dataset, served: Bundle | None) -> Verdict:
    """Register a run's bundle as challenger, put it through the gate, and make it champion if that opens.

    Args:
        client: From ``ml.tracking.connect``.
        bundle: What the run logged.
        run_id: The run.
        data: Its test split decides.
        served: The bundle served so far; the gate must open for it too, if it is not the registry's champion.

    Raises:
        RegistryError: MLflow does not take it.
        GateError: The two cannot be compared.
    """
    version = register(client, bundle, run_id)
    verdict = _judge(client, version.name, bundle, data, served)
    if verdict.promoted:
        promote(client, version.name, version.version)
    return verdict


def _judge(client: MlflowClient, name: str, challenger: Bundle, data: Dataset, served: Bundle | None) -> Verdict:
    champion = fetch(client, name, CHAMPION)
    verdict = gate(challenger, champion or served, data)
    if not (verdict.promoted and champion and served):
        return verdict
    # They differ after a `git pull` that brought a new champion, or a step back to an older one.
    same = champion.manifest.model_sha256 == served.manifest.model_sha256
    return verdict if same else gate(challenger, served, data)


def _register_command(client: MlflowClient, options: argparse.Namespace) -> int:
    bundle = load(options.run / BUNDLE_FOLDER)
    if bundle.manifest.training.run_id is None:
        raise RegistryError(f"{options.run} does not name its MLflow run: train it again.")
    version = register(client, bundle, bundle.manifest.training.run_id)
    print(f"{version.name} version {version.version} is the challenger.")
    return 0


def _fetch_command(client: MlflowClient, options: argparse.Namespace) -> int:
    name = options.name or _only_name(client)
    bundle = fetch(client, name, options.alias)
    if bundle is None:
        raise RegistryError(
            f"{name} has no {options.alias}: train one, or see `{report.command('ml.registry', 'list')}`."
        )
    write(options.to, bundle)
    print(f"{name} {bundle.manifest.version} ({options.alias}) is in {options.to}, hash checked.")
    return 0


def _gate_command(client: MlflowClient, options: argparse.Namespace) -> int:
    data = collect(options.data, options.exclude)
    name = options.name or model_name(data.name)
    version = _find(client, name, CHALLENGER)
    if version is None:
        raise RegistryError(f"{name} has no challenger: train one, or name the model with --name.")
    verdict = _judge(client, name, _bundle(client, version), data, served_bundle(options.champion, data))
    print(verdict.table())
    if not verdict.promoted:
        return 1
    promote(client, name, version.version)
    print(f"Serve it: {report.command('ml.registry', 'fetch', CHAMPION, '--name', name, '--to', options.champion)}")
    return 0


def _list_command(client: MlflowClient, _: argparse.Namespace) -> int:
    for model in client.search_registered_models():
        for version in client.search_model_versions(f"name = '{model.name}'"):
            names = [alias for alias, number in model.aliases.items() if str(number) == str(version.version)]
            print(
                f"{model.name}  {version.version:>3}  {version.tags.get('bundle_version', ''):<20} {', '.join(names)}"
            )
    return 0


def _only_name(client: MlflowClient) -> str:
    names = [model.name for model in client.search_registered_models()]
    if len(names) != 1:
        known = ", ".join(names) or "none"
        raise RegistryError(f"MLflow's registry holds {len(names)} models ({known}): name one with --name.")
    return str(names[0])


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, promote and fetch registered models."""
    parser = argparse.ArgumentParser(prog="python -m ml.registry", description=main.__doc__)
    parser.add_argument("--tracking-uri", help=f"MLflow's address [MLFLOW_TRACKING_URI, else {DEFAULT_ADDRESS}]")
    commands = parser.add_subparsers(required=True)
    registering = commands.add_parser("register", help="make a run's bundle the challenger, without the gate")
    registering.add_argument("run", type=Path, help="the run's folder, such as runs/cats-vs-dogs-20260101-120000")
    registering.set_defaults(command=_register_command)
    fetching = commands.add_parser("fetch", help="bring a bundle out of MLflow")
    fetching.add_argument("alias", choices=(CHAMPION, CHALLENGER))
    fetching.add_argument("--to", type=Path, required=True, help="the bundle's folder, such as models/champion")
    fetching.set_defaults(command=_fetch_command)
    gating = commands.add_parser("gate", help="make the challenger champion if it is no worse")
    gating.add_argument("--data", type=Path, required=True, help="folder with one sub-folder of pictures per class")
    exclude.add_argument(gating)
    text = f"the served bundle, which must not be better either [{SERVED}]"
    gating.add_argument("--champion", type=Path, default=SERVED, metavar="FOLDER", help=text)
    gating.set_defaults(command=_gate_command)
    for naming in (fetching, gating):
        naming.add_argument("--name", help="the registered model [the only one, or the data set's name]")
    commands.add_parser("list", help="all versions, with their aliases").set_defaults(command=_list_command)
    options = parser.parse_args(arguments)
    try:
        return int(options.command(connect(options.tracking_uri), options))
    except (UserError, BundleError, ImageError) as error:
        print(error, file=sys.stderr)
        return 2
    except Failure as error:
        print(f"It cannot be done: {reason(error)}.", file=sys.stderr)
        return 2

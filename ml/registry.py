"""MLflow's model registry: challenger and champion, and the gate between them."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from ml.data import DataError, Dataset, scan
from ml.export import write
from ml.gate import GateError, Verdict, gate
from ml.tracking import DEFAULT_ADDRESS, Failure, TrackingError, connect
from services.inference.bundle import Bundle, BundleError, load

CHALLENGER = "challenger"
CHAMPION = "champion"
BUNDLE_FOLDER = "bundle"


class RegistryError(Exception):
    """The registry cannot do what was asked; the message is one sentence that says why."""


def register(client: MlflowClient, bundle: Bundle, run_id: str) -> ModelVersion:
    """Register the bundle that a run logged, as the challenger of the model with the manifest's name.

    Raises:
        RegistryError: MLflow does not take it.
    """
    manifest = bundle.manifest
    try:
        if not client.search_registered_models(f"name = '{manifest.name}'"):
            client.create_registered_model(manifest.name)
        source = f"{client.get_run(run_id).info.artifact_uri}/{BUNDLE_FOLDER}"
        tags = {"bundle_version": manifest.version, "model_sha256": manifest.model_sha256}
        version = client.create_model_version(manifest.name, source, run_id, tags=tags, await_creation_for=0)
        client.set_registered_model_alias(manifest.name, CHALLENGER, version.version)
    except Failure as error:
        raise RegistryError(f"MLflow does not register {manifest.name}: {error}") from error
    return version


def promote(client: MlflowClient, name: str, version: str) -> None:
    """Make a registered version the champion."""
    try:
        client.set_registered_model_alias(name, CHAMPION, version)
    except Failure as error:
        raise RegistryError(f"MLflow does not make version {version} of {name} the champion: {error}") from error


def fetch(client: MlflowClient, name: str, alias: str) -> Bundle | None:
    """Bring a bundle back out of MLflow, checked against the hash in the registry; None if the alias is not set.

    Raises:
        RegistryError: MLflow does not give it, or its hash is not the registered one.
        BundleError: What it gives is no sound bundle.
    """
    try:
        version = client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise RegistryError(f"MLflow does not answer for {name}@{alias}: {error}") from error
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = mlflow.artifacts.download_artifacts(
                artifact_uri=version.source, dst_path=folder, tracking_uri=client.tracking_uri
            )
        except Failure as error:
            raise RegistryError(
                f"MLflow does not give the bundle of {name} version {version.version}: {error}"
            ) from error
        bundle = load(Path(path))
    if bundle.manifest.model_sha256 != version.tags.get("model_sha256"):
        raise RegistryError(
            f"The bundle of {name} version {version.version} is not the one that was registered: its hash differs."
        )
    return bundle


def submit(client: MlflowClient, bundle: Bundle, run_id: str, data: Dataset, served: Bundle | None) -> Verdict:
    """Register a run's bundle as challenger, put it through the gate, and make it champion if that opens.

    Args:
        client: From ``ml.tracking.connect``.
        bundle: What the run logged.
        run_id: The run.
        data: Its test split decides.
        served: The bundle served so far, which the gate takes as champion while the registry has none.

    Raises:
        RegistryError: MLflow does not take it.
        GateError: The two cannot be compared.
    """
    version = register(client, bundle, run_id)
    verdict = gate(bundle, fetch(client, version.name, CHAMPION) or served, data)
    if verdict.promoted:
        promote(client, version.name, version.version)
    return verdict


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
        raise RegistryError(f"{name} has no {options.alias}: train one, or see `python -m ml.registry list`.")
    write(options.to, bundle)
    print(f"{name} {bundle.manifest.version} ({options.alias}) is in {options.to}, hash checked.")
    return 0


def _gate_command(client: MlflowClient, options: argparse.Namespace) -> int:
    data = scan(options.data)
    name = options.name or data.name
    challenger = fetch(client, name, CHALLENGER)
    if challenger is None:
        raise RegistryError(f"{name} has no challenger: train one, or name the model with --name.")
    verdict = gate(challenger, fetch(client, name, CHAMPION), data)
    print(verdict.table())
    if not verdict.promoted:
        return 1
    promote(client, name, client.get_model_version_by_alias(name, CHALLENGER).version)
    print("Serve it: python -m ml.registry fetch champion --to models/champion")
    return 0


def _list_command(client: MlflowClient, _: argparse.Namespace) -> int:
    for model in client.search_registered_models():
        for version in client.search_model_versions(f"name = '{model.name}'"):
            names = [a for a, v in model.aliases.items() if v == version.version]
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
    gating.set_defaults(command=_gate_command)
    for command in (fetching, gating):
        command.add_argument("--name", help="the registered model [the only one, or the data set's name]")
    commands.add_parser("list", help="all versions, with their aliases").set_defaults(command=_list_command)
    options = parser.parse_args(arguments)
    try:
        return int(options.command(connect(options.tracking_uri), options))
    except (TrackingError, RegistryError, GateError, BundleError, DataError) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

"""List, register, fetch, gate and publish models: ``python -m ml.registry``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mlflow import MlflowClient

from bundle.files import BundleError
from bundle.load import CHAMPION as SERVED
from bundle.load import load
from bundle.manifest import MANIFEST_FILE
from bundle.preprocess import ImageError
from ml.data import exclude, report
from ml.data.scan import collect
from ml.errors import UserError
from ml.export.write_bundle import write
from ml.registry import publishing
from ml.registry.model_registry import (
    BUNDLE_FOLDER,
    CHALLENGER,
    CHAMPION,
    RegistryError,
    challenge,
    download,
    fetch,
    find,
    model_name,
    only_name,
    register,
    served_bundle,
)
from ml.tracking.address import DEFAULT_ADDRESS
from ml.tracking.client import Failure, connect, reason


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, promote, fetch and publish registered models."""
    options = _parser().parse_args(arguments)
    try:
        # A folder needs no MLflow.
        if getattr(options, "bundle", None):
            return int(options.offline(options))
        return int(options.command(connect(options.tracking_uri), options))
    except (UserError, BundleError, ImageError) as error:
        print(error, file=sys.stderr)
        return 2
    except Failure as error:
        print(f"The command failed: {reason(error)}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ml.registry", description=main.__doc__)
    parser.add_argument("--tracking-uri", help=f"MLflow's address [MLFLOW_TRACKING_URI, else {DEFAULT_ADDRESS}]")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("register", help="make a run's bundle the challenger, without the gate")
    command.add_argument("run", type=Path, help="the run's folder, such as runs/cats-vs-dogs-20260101-120000")
    command.set_defaults(command=_register)
    command = fetching = commands.add_parser("fetch", help="download a bundle from MLflow")
    command.add_argument("alias", choices=(CHAMPION, CHALLENGER))
    command.add_argument("--to", type=Path, required=True, help="the bundle's folder, such as models/champion")
    command.set_defaults(command=_fetch)
    command = gating = commands.add_parser("gate", help="make the challenger champion if it is no worse")
    command.add_argument("--data", type=Path, required=True, help="folder with one sub-folder of images per class")
    exclude.add_argument(command)
    text = f"the served bundle, which the challenger is compared with too [{SERVED}]"
    command.add_argument("--champion", type=Path, default=SERVED, metavar="FOLDER", help=text)
    command.set_defaults(command=_gate)
    for command in (fetching, gating):
        command.add_argument("--name", help="the registered model [the only one, or the data set's name]")
    publishing.add_commands(commands)
    commands.add_parser("list", help="list all versions with their aliases").set_defaults(command=_list)
    return parser


def _register(client: MlflowClient, options: argparse.Namespace) -> int:
    bundle = load(options.run / BUNDLE_FOLDER)
    if bundle.manifest.training.run_id is None:
        raise RegistryError(f"{options.run} does not name its MLflow run: train it again.")
    version = register(client, bundle, bundle.manifest.training.run_id)
    print(f"{version.name} version {version.version} is the challenger.")
    return 0


def _fetch(client: MlflowClient, options: argparse.Namespace) -> int:
    name = options.name or only_name(client)
    bundle = fetch(client, name, options.alias)
    if bundle is None:
        command = report.command("ml.registry", "list")
        raise RegistryError(f"{name} has no {options.alias}: train one, or see `{command}`.")
    write(options.to, bundle)
    print(f"{name} {bundle.manifest.version} ({options.alias}) is in {options.to}, hash checked.")
    return 0


def _gate(client: MlflowClient, options: argparse.Namespace) -> int:
    data = collect(options.data, options.exclude)
    name = options.name or model_name(data.name)
    version = find(client, name, CHALLENGER)
    if version is None:
        raise RegistryError(f"{name} has no challenger: train one, or name the model with --name.")
    served = served_bundle(options.champion, data)
    if served is None and (options.champion / MANIFEST_FILE).exists():
        print(f"{options.champion} holds a model of other classes: the challenger is not compared with it.")
    verdict = challenge(client, version, download(client, version), data, served)
    print(verdict.table())
    if not verdict.promoted:
        return 1
    print(f"Serve it: {report.command('ml.registry', 'fetch', CHAMPION, '--name', name, '--to', options.champion)}")
    return 0


def _list(client: MlflowClient, _: argparse.Namespace) -> int:
    for model in client.search_registered_models():
        for version in client.search_model_versions(f"name = '{model.name}'"):
            aliases = [alias for alias, number in model.aliases.items() if str(number) == str(version.version)]
            tag = version.tags.get("bundle_version", "")
            print(f"{model.name}  {version.version:>3}  {tag:<20} {', '.join(aliases)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

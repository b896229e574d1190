"""The commands that publish, sign and look back: ``python -m ml.registry publish | sign | history``."""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from mlflow import MlflowClient

from bundle.load import load
from ml.data import report
from ml.errors import UserError
from ml.export.write_bundle import write
from ml.registry import champions, model_image
from ml.registry.model_registry import (
    CHAMPION,
    IMAGE_TAG,
    RegistryError,
    download,
    find,
    find_version,
    only_name,
    versions,
)
from ml.registry.signing import sign

REGISTRY = "localhost/mlops"


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to the parser of ``python -m ml.registry``."""
    name = "the registered model [the only one]"
    command = commands.add_parser("publish", help="build the OCI image of a bundle, for scripts/deploy --model")
    command.add_argument("version", nargs="?", default=CHAMPION, help="alias, number or bundle version [%(default)s]")
    command.add_argument("--name", help=name)
    command.add_argument(
        "--bundle", type=Path, metavar="FOLDER", help="a bundle outside MLflow, such as models/champion"
    )
    command.add_argument("--key", type=Path, help="sign it with this EC key (PEM)")
    command.add_argument("--push", action="store_true", help="push the image to its registry")
    text = f"the image is called REGISTRY/model:VERSION [REGISTRY, else {REGISTRY}]"
    command.add_argument("--registry", default=os.environ.get("REGISTRY") or REGISTRY, help=text)
    engine = os.environ.get("ENGINE") or model_image.ENGINES[0]
    text = f"{', '.join(model_image.ENGINES)} [ENGINE, else {model_image.ENGINES[0]}]"
    command.add_argument("--engine", default=engine, choices=model_image.ENGINES, help=text)
    command.set_defaults(command=_publish, offline=_publish_folder)
    command = commands.add_parser("sign", help="sign a bundle, for a service with MODEL_PUBLIC_KEY")
    command.add_argument("bundle", type=Path, help="the bundle's folder")
    command.add_argument("--key", type=Path, required=True, help="EC key (PEM)")
    command.set_defaults(command=None, offline=_sign)
    command = commands.add_parser("history", help="list the champions, from when to when and by which verdict")
    command.add_argument("--name", help=name)
    command.set_defaults(command=_history)


def commands(name: str, version: str) -> str:
    """Format the two commands that bring a registered version to a cluster."""
    registry = os.environ.get("REGISTRY") or "ghcr.io/<owner>/<repo>"
    publish = report.command("ml.registry", "publish", version, "--name", name)
    return f"  {publish} --push --registry {registry}\n  make deploy MODEL={version} REGISTRY={registry}"


def _publish(client: MlflowClient, options: argparse.Namespace) -> int:
    name = options.name or only_name(client)
    version = find_version(client, name, options.version)
    if version is None:
        raise RegistryError(f"{name} has no version {options.version}: see `{report.command('ml.registry', 'list')}`.")
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), download(client, version))
        image = _build(Path(folder), options)
    client.set_model_version_tag(name, version.version, IMAGE_TAG, f"{image.name}@{image.digest}")
    return 0


def _publish_folder(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as temporary:
        # A copy, since the key's signature belongs to this image alone.
        _build(shutil.copytree(options.bundle, Path(temporary, "bundle")), options)
    return 0


def _build(folder: Path, options: argparse.Namespace) -> model_image.Image:
    """Build, push and print the image of a bundle's folder."""
    if options.key:
        sign(folder, options.key)
    version = load(folder).manifest.version
    image = model_image.publish(folder, version, options.registry, options.engine, options.push)
    print(f"{image.name}\n{image.digest}")
    if not options.push:
        print("This is the id of a local image: --push sends it to its registry, and prints the digest there.")
    return image


def _sign(options: argparse.Namespace) -> int:
    sign(options.bundle, options.key)
    print(f"{options.bundle} is signed.")
    return 0


def _history(client: MlflowClient, options: argparse.Namespace) -> int:
    name = options.name or only_name(client)
    found = versions(client, name)
    reigns = list(champions.history(found))
    if not reigns:
        raise UserError(f"{name} has had no champion since its promotions are recorded.")
    images = {str(version.version): version.tags.get(IMAGE_TAG, "") for version in found}
    for reign in reigns:
        until = f"{reign.until:%Y-%m-%d %H:%M}" if reign.until else "now"
        print(f"{reign.since:%Y-%m-%d %H:%M} to {until:<16}  {reign.number:>3}  {reign.version:<20} {reign.verdict}")
        if image := images[reign.number]:
            print(f"{'':36} {image}")
    present = find(client, name, CHAMPION)
    if present is None or str(present.version) != reigns[-1].number:
        now = f"version {present.version} is champion" if present else "there is no champion"
        print(f"Since then the alias was moved by other means than ml.registry: {now}.")
    return 0

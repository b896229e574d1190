"""MLflow's model registry: challenger and champion, and the gate between them."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from scipy.stats import binomtest

from ml.data import DataError, Dataset, scan
from ml.evaluate import evaluate
from ml.export import write
from ml.tracking import DEFAULT_ADDRESS, Failure, TrackingError, connect
from services.inference.bundle import Bundle, BundleError, load

CHALLENGER = "challenger"
CHAMPION = "champion"
BUNDLE_FOLDER = "bundle"
SIGNIFICANCE = 0.05
MARGIN = 0.01


class RegistryError(Exception):
    """The registry cannot do what was asked; the message is one sentence that says why."""


@dataclass(frozen=True)
class Verdict:
    """What the gate decided, and on which numbers.

    Attributes:
        promoted: Whether the challenger may become champion.
        reason: One sentence.
        pictures: Held-out pictures that both were asked about.
        challenger_accuracy: From 0 to 1.
        champion_accuracy: From 0 to 1; None where there was no champion.
        only_challenger_right: Pictures that only the challenger got right.
        only_champion_right: Pictures that only the champion got right.
        p_worse: One-sided p-value of the exact McNemar test for the challenger being worse.
    """

    promoted: bool
    reason: str
    pictures: int
    challenger_accuracy: float
    champion_accuracy: float | None = None
    only_challenger_right: int = 0
    only_champion_right: int = 0
    p_worse: float | None = None

    def table(self) -> str:
        """Lay the numbers out for a person."""
        rows = [("held-out pictures", f"{self.pictures:,}"), ("challenger", f"{self.challenger_accuracy:.2%}")]
        if self.champion_accuracy is not None:
            rows += [
                ("champion", f"{self.champion_accuracy:.2%}"),
                ("only the challenger right", f"{self.only_challenger_right:,}"),
                ("only the champion right", f"{self.only_champion_right:,}"),
                ("p (challenger is worse)", f"{self.p_worse:.3f}"),
            ]
        rows.append(("verdict", "promoted" if self.promoted else "refused"))
        return "\n".join(f"  {name:<26} {value}" for name, value in rows) + f"\n  {self.reason}"


def gate(challenger: Bundle, champion: Bundle | None, data: Dataset, progress: bool = True) -> Verdict:
    """Decide whether a challenger is no worse than the champion on the same held-out pictures.

    Refused is a challenger that the exact McNemar test (McNemar 1947; one-sided, 5 %) finds worse, or whose accuracy
    is more than one percentage point lower, which a small test set could not prove. Without a champion it must
    beat always answering the commonest class.

    Raises:
        RegistryError: There are no held-out pictures, or the classes differ.
    """
    pictures = data.split("test")
    classes = list(data.classes)
    for role, bundle in ((CHALLENGER, challenger), (CHAMPION, champion)):
        if bundle and bundle.manifest.classes != classes:
            known = ", ".join(bundle.manifest.classes)
            raise RegistryError(f"The {role} knows {known}, but the data has {', '.join(classes)}: not comparable.")
    if not pictures:
        raise RegistryError(f"{data.name} has no held-out pictures: the gate cannot measure anything.")
    ours = evaluate(challenger, pictures, progress).correct
    accuracy = float(ours.mean())
    if champion is None:
        commonest = max(sum(p.label == i for p in pictures) for i in range(len(classes)))
        chance = binomtest(int(ours.sum()), len(pictures), commonest / len(pictures), alternative="greater").pvalue
        promoted = chance < SIGNIFICANCE
        comparison = "better" if promoted else "not shown to be better"
        reason = f"There is no champion yet, and it is {comparison} than always answering the commonest class."
        return Verdict(promoted, reason, len(pictures), accuracy)
    theirs = evaluate(champion, pictures, progress).correct
    wins, losses = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    p_worse = float(binomtest(losses, wins + losses, 0.5, alternative="greater").pvalue) if wins + losses else 1.0
    drop = (losses - wins) / len(pictures)
    if p_worse < SIGNIFICANCE:
        reason = f"The challenger is worse than the champion (p = {p_worse:.3f} < {SIGNIFICANCE})."
    elif drop > MARGIN:
        reason = (
            f"The challenger's accuracy is {drop:.2%} lower, more than the {MARGIN:.0%} that is let pass as chance."
        )
    else:
        reason = "The challenger is no worse than the champion."
    promoted = p_worse >= SIGNIFICANCE and drop <= MARGIN
    return Verdict(promoted, reason, len(pictures), accuracy, float(theirs.mean()), wins, losses, p_worse)


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
        version = client.create_model_version(manifest.name, source, run_id, tags=tags)
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
    if verdict.promoted:
        promote(client, name, client.get_model_version_by_alias(name, CHALLENGER).version)
    return 0 if verdict.promoted else 1


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
    except (TrackingError, RegistryError, BundleError, DataError) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

"""From a folder of photos to a tracked, gated bundle: the steps, one after the other."""

import argparse
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch
from mlflow import MlflowClient
from torch import nn

from bundle.manifest import MANIFEST_FILE, Training
from ml.data import report
from ml.data.dataset import DataError, Dataset, LabelledImage
from ml.data.folder import slug
from ml.data.scan import collect, scan
from ml.evaluation import out_of_distribution as neither
from ml.export.write_bundle import write
from ml.finalize import ExportOptions, ServingPixels, finish
from ml.model.architectures import build, describe_weights
from ml.registry import model_registry as registry
from ml.tracking.tracker import STATE_FILE, Tracker
from ml.training import checkpoint, distributed
from ml.training import config as recipes
from ml.training.checkpoint import CHECKPOINT
from ml.training.config import TrainingConfig
from ml.training.device import choose_device, describe_machine, mixed_precision
from ml.training.epoch import Epoch
from ml.training.loader import Pixels
from ml.training.trainer import fit

CODE = Path(__file__).resolve().parent
RUNS = Path("runs")
LEFT_OUT = "left_out.csv"
# Training pictures are kept larger than the network takes, so that a random crop still has its resolution.
CACHE_MARGIN = 1.25
FAMILIAR_PICTURES = 4000


def run(client: MlflowClient, options: argparse.Namespace) -> int:
    """Go from a folder to a gated bundle, as the options of ``ml.train`` say.

    Started several times by ``torchrun``, all train together, and the first does the rest.

    Returns:
        0 if a sound bundle came of it, promoted or not; 1 if MLflow was lost, so that the gate is still to come.
    """
    device = distributed.own_device(choose_device(options.device))
    with distributed.processes(device):
        return _run(client, options, device) if distributed.is_first() else _help(options, device)


def _help(options: argparse.Namespace, device: torch.device) -> int:
    """Train along with the first process, which alone prints, logs and writes."""
    data = scan(options.data, exclude=options.exclude, progress=False)
    folder = Path(options.resume or "")
    recipe = _recipe(options, data, folder)
    network = _network(recipe, data)
    distributed.of_first(None)  # which decodes what all read
    training, validation = _pixels(data, recipe, options.cache)
    fit(network, training, validation, recipe, device, folder, bool(options.resume))
    return 0


def _run(client: MlflowClient, options: argparse.Namespace, device: torch.device) -> int:
    commit = _git_commit()  # now: somebody may go on working while it trains
    data = scan(options.data, exclude=options.exclude)
    photos, others = _acceptance(options.acceptance, data), neither.read(options.neither)
    extras = ExportOptions(options.precision, options.mirrored, photos, others)
    champion = options.champion or registry.SERVED
    served = registry.served_bundle(champion, data)
    folder = _folder(options, data)
    print(report.describe(data, f"{folder / LEFT_OUT} lists them all"))
    recipe = _recipe(options, data, folder)
    network = _network(recipe, data)
    initial_weights = describe_weights(recipe.weights)
    print(f"{recipe.architecture} on {device} ({mixed_precision(device) or torch.float32}), run folder {folder}")
    tracker = _tracker(client, folder, recipe, data, device, options, commit)
    log = _log_to(tracker)
    try:
        if options.resume:
            # The last epoch of a run that was killed may be in the checkpoint alone.
            for epoch in checkpoint.read(folder / CHECKPOINT, recipe)["history"]:
                log(Epoch(**epoch))
        training, validation = _pixels(data, recipe, options.cache)
        distributed.of_first(None)
        fitted = fit(network, training, validation, recipe, device, folder, bool(options.resume), log)
        print(f"Training ended: {fitted.ending}; best of {len(fitted.history)} epochs: {fitted.best_epoch}.")
        shown = _shown(data, recipe, options.serve_size or recipe.size, options.cache)
        origin = Training(
            run_id=tracker.run_id,
            git_commit=commit,
            architecture=recipe.architecture,
            initial_weights=initial_weights,
            epochs=0,
            seed=recipe.seed,
            recipe={k: v for k, v in asdict(recipe).items() if k not in ("data_fingerprint", "weights")},
            machine=describe_machine(device),
        )
        bundle = finish(network, fitted, shown, data, recipe, origin, tracker, folder, extras)
    except BaseException as error:
        tracker.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    unsent = tracker.finish()
    if unsent:
        lost = "\n  ".join(unsent)
        exclude = [text for path in options.exclude for text in ("--exclude", path)]
        print(
            f"\nNot all could be sent to MLflow; it is kept:\n  {lost}\nThe bundle is in "
            f"{folder / registry.BUNDLE_FOLDER}. When MLflow is well:\n  {report.command('ml.tracking', folder)}\n"
            f"  {report.command('ml.registry', 'register', folder)}\n"
            f"  {report.command('ml.registry', 'gate', '--data', options.data, *exclude)}",
            file=sys.stderr,
        )
        return 1
    verdict = registry.submit(client, bundle, tracker.run_id, data, served)
    print(f"\nGate:\n{verdict.table()}")
    if verdict.promoted and data.synthetic and not options.champion:
        print(f"\nTrained on drawn pictures: {champion} stays as it is (--champion {champion} would replace it).")
    elif verdict.promoted:
        if served is None and (champion / MANIFEST_FILE).exists():
            print(f"\n{champion} held a model of other classes; `git checkout {champion}` brings it back.")
        write(champion, bundle)
        print(f"\n{champion} now holds {bundle.manifest.name} {bundle.manifest.version}; `make up` serves it.")
    return 0


def _recipe(options: argparse.Namespace, data: Dataset, folder: Path) -> TrainingConfig:
    earlier = TrainingConfig(**checkpoint.read(folder / CHECKPOINT)["recipe"]) if options.resume else None
    recipe = recipes.from_options(options, data.fingerprint, earlier)
    if earlier:
        checkpoint.require_same(folder / CHECKPOINT, earlier, recipe)
    return recipe


def _network(recipe: TrainingConfig, data: Dataset) -> nn.Module:
    torch.manual_seed(recipe.seed)
    return build(recipe.architecture, len(data.classes), recipe.weights)


def _folder(options: argparse.Namespace, data: Dataset) -> Path:
    if options.resume:
        return Path(options.resume)
    folder = Path(options.out or RUNS / f"{slug(data.name)}-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    if (folder / STATE_FILE).exists():
        raise DataError(f"{folder} holds a run already: go on with it by --resume {folder}, or name another --out.")
    return folder


def _tracker(
    client: MlflowClient,
    folder: Path,
    recipe: TrainingConfig,
    data: Dataset,
    device: torch.device,
    options: argparse.Namespace,
    commit: str | None,
) -> Tracker:
    if options.resume:
        tracker = Tracker.reopen(client, folder)
        tracker.status("RUNNING")
        return tracker
    folder.mkdir(parents=True, exist_ok=True)
    tags = {
        "dataset": data.name,
        "synthetic": str(data.synthetic).lower(),
        "git_commit": commit or "unknown",
        "machine": describe_machine(device),
    }
    tracker = Tracker.start(client, folder, options.experiment or data.name, folder.name, tags)
    counts = {f"{split}_pictures": sum(by_class.values()) for split, by_class in data.counts().items()}
    report.write(folder / LEFT_OUT, data.problems)
    tracker.file(folder / LEFT_OUT, to="data")
    tracker.parameters(asdict(recipe) | counts | {"classes": ", ".join(data.classes), "device": str(device)})
    return tracker


def _acceptance(folder: Path | None, data: Dataset) -> tuple[LabelledImage, ...]:
    """The photos of a folder that has the data set's classes, none of which is among the data set's pictures.

    Raises:
        DataError: It has other classes, or pictures of the data set.
    """
    if folder is None:
        return ()
    photos = collect(folder)
    if photos.classes != data.classes:
        raise DataError(f"{folder} has the classes {', '.join(photos.classes)}, not {', '.join(data.classes)}.")
    if known := {p.sha256 for p in data.images} & {p.sha256 for p in photos.images}:
        raise DataError(f"{folder} has {len(known)} pictures of the data set: what was seen proves nothing.")
    return photos.images


def _pixels(data: Dataset, recipe: TrainingConfig, cache: Path) -> tuple[Pixels, Pixels]:
    """Pictures to learn from and to validate with."""
    side = round(recipe.size * CACHE_MARGIN)
    training = Pixels(data.split("train"), side, recipe.resize, cache, "training pictures")
    return training, Pixels(data.split("validation"), recipe.size, recipe.resize, cache, "validation pictures")


def _shown(data: Dataset, recipe: TrainingConfig, size: int, cache: Path) -> ServingPixels:
    """Pictures as they will be served: some that the network learned from, and those to choose limits with."""
    learned = data.split("train")
    some = learned[:: -(-len(learned) // FAMILIAR_PICTURES)]
    return ServingPixels(
        size,
        Pixels(some, size, recipe.resize, cache, "familiar pictures"),
        Pixels(data.split("validation"), size, recipe.resize, cache, "validation pictures"),
    )


def _log_to(tracker: Tracker) -> Callable[[Epoch], None]:
    def log(epoch: Epoch) -> None:
        values = asdict(epoch)
        tracker.metrics(values, step=values.pop("epoch"))

    return log


def _git_commit() -> str | None:
    """The commit this code is at, marked ``-dirty`` if it was changed since; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, cwd=CODE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()

"""Prepare a training run: everything that is checked and set up before the first epoch."""

import argparse
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from mlflow import MlflowClient

from bundle.load import CHAMPION, Bundle
from bundle.manifest import Training
from ml.data import report
from ml.data.dataset import DataError, Dataset, LabelledImage
from ml.data.folder import slug
from ml.data.scan import collect
from ml.evaluation import out_of_distribution
from ml.model.backbones import require_side
from ml.model.classifier import Classifier, build, describe_weights, freeze
from ml.registry.model_registry import served_bundle
from ml.tracking.tracker import STATE_FILE, Tracker
from ml.training import checkpoint
from ml.training.checkpoint import CHECKPOINT
from ml.training.config import TrainingConfig, from_options
from ml.training.device import describe_machine, mixed_precision

CODE = Path(__file__).resolve().parent
RUNS = Path("runs")
LEFT_OUT = "left_out.csv"


@dataclass(frozen=True)
class TrainingRun:
    """The inputs of a training run, which the steps of the pipeline share.

    Attributes:
        network: The network with its initial weights.
        training: Section of the manifest, before training.
        champion: Folder of the served bundle.
        served: The bundle in it, if it has the same classes.
        photos: Labelled photos as people send them, for the robustness; may be empty.
        other_sets: Labelled images of other origin, by folder name; may be empty.
        out_of_distribution: Encoded images of none of the classes, by kind; may be empty.
    """

    options: argparse.Namespace
    dataset: Dataset
    config: TrainingConfig
    network: Classifier
    device: torch.device
    folder: Path
    tracker: Tracker
    training: Training
    champion: Path
    served: Bundle | None
    photos: Sequence[LabelledImage]
    other_sets: Mapping[str, Sequence[LabelledImage]]
    out_of_distribution: Mapping[str, Sequence[bytes]]


def prepare(
    client: MlflowClient, options: argparse.Namespace, dataset: Dataset, device: torch.device, commit: str | None
) -> TrainingRun:
    """Check the inputs, then start or reopen the run in MLflow.

    Raises:
        UserError: An input cannot be used; no run was started.
        BundleError: The served bundle is damaged.
    """
    photos = _read_photos(options.acceptance, dataset)
    other_sets = {name: _read_photos(folder, dataset) for name, folder in _by_name(options.other_set).items()}
    unknown = out_of_distribution.read(_by_name(options.out_of_distribution))
    champion = options.champion or CHAMPION
    served = served_bundle(champion, dataset)
    folder = _run_folder(options, dataset)
    print(report.describe(dataset, f"{folder / LEFT_OUT} lists them all"))
    config = load_config(options, dataset)
    network = build_network(config, dataset, options.serve_size)
    initial_weights = describe_weights(config.weights)
    print(f"{config.architecture} on {device} ({mixed_precision(device) or torch.float32}), run folder {folder}")
    machine = describe_machine(device)
    if options.resume:
        tracker = Tracker.reopen(client, folder)
        with tracker.ended_on_error():
            tracker.status("RUNNING")
            # Parameters cannot change.
            tracker.tags({name: getattr(config, name) for name in checkpoint.LATER})
    else:
        folder.mkdir(parents=True, exist_ok=True)
        tags = {
            "dataset": dataset.name,
            "synthetic": str(dataset.synthetic).lower(),
            "git_commit": commit or "unknown",
            "machine": machine,
        }
        tracker = Tracker.start(client, folder, options.experiment or dataset.name, folder.name, tags)
        with tracker.ended_on_error():
            report.write(folder / LEFT_OUT, dataset.problems)
            tracker.file(folder / LEFT_OUT, to="data")
            tracker.dataset(dataset.name, dataset.fingerprint, dataset.source or dataset.name, dataset.counts())
            counts = {f"{split}_pictures": sum(by_class.values()) for split, by_class in dataset.counts().items()}
            tracker.parameters(asdict(config) | counts | {"classes": ", ".join(dataset.classes), "device": str(device)})
    training = Training(
        run_id=tracker.run_id,
        git_commit=commit,
        architecture=config.architecture,
        initial_weights=initial_weights,
        epochs=0,
        seed=config.seed,
        recipe={k: v for k, v in asdict(config).items() if k not in ("data_fingerprint", "weights")},
        machine=machine,
    )
    checked = champion, served, photos, other_sets, unknown
    return TrainingRun(options, dataset, config, network, device, folder, tracker, training, *checked)


def load_config(options: argparse.Namespace, dataset: Dataset) -> TrainingConfig:
    """Apply the command line to the config of the run to resume, or to the defaults.

    Raises:
        CheckpointError: The run cannot be resumed with these settings.
    """
    if not options.resume:
        return from_options(options, dataset.fingerprint, len(dataset.split("train")))
    path = options.resume / CHECKPOINT
    earlier, _ = checkpoint.read(path)
    config = from_options(options, dataset.fingerprint, 0, earlier)
    checkpoint.require_same(path, earlier, config)
    return config


def build_network(config: TrainingConfig, dataset: Dataset, serve_size: int | None = None) -> Classifier:
    """Build the network with its initial weights; the same seed gives the same weights.

    Raises:
        ModelError: The network cannot be built, or does not take images of these sizes.
    """
    torch.manual_seed(config.seed)
    network = build(config.architecture, len(dataset.classes), config.weights)
    sides = {config.side(epoch): "--first-size" for epoch in range(config.epochs)}
    sides |= {config.train_size: "--train-size", serve_size or config.size: "--serve-size", config.size: "--size"}
    for side, option in sides.items():
        require_side(network.backbone, config.architecture, side, option)
    freeze(network, config.frozen)
    return network


def git_commit() -> str | None:
    """Return the commit of this code, with ``-dirty`` if it was changed since; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, cwd=CODE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def _run_folder(options: argparse.Namespace, dataset: Dataset) -> Path:
    if options.resume:
        return Path(options.resume)
    folder = Path(options.out or RUNS / f"{slug(dataset.name)}-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    if (folder / STATE_FILE).exists():
        resume = f"resume it with --resume {folder}, or " if (folder / CHECKPOINT).exists() else ""
        raise DataError(f"{folder} holds a run already: {resume}choose another --out.")
    return folder


def _by_name(folders: Sequence[Path]) -> dict[str, Path]:
    """Map folders by the names that reports give them."""
    named: dict[str, Path] = {}
    for folder in folders:
        if folder.name in named:
            both = f"{named[folder.name]} and {folder}"
            raise DataError(f"{both} have the same name: rename one, so that reports can tell them apart.")
        named[folder.name] = folder
    return named


def _read_photos(folder: Path | None, dataset: Dataset) -> tuple[LabelledImage, ...]:
    """Read labelled photos that are not in the data set."""
    if folder is None:
        return ()
    photos = collect(folder)
    if photos.classes != dataset.classes:
        raise DataError(f"{folder} has the classes {', '.join(photos.classes)}, not {', '.join(dataset.classes)}.")
    if known := {image.sha256 for image in dataset.images} & {image.sha256 for image in photos.images}:
        raise DataError(f"{folder} has {len(known)} images of the data set: choose photos that are not in it.")
    return photos.images

"""One command from a folder of photos to a tracked, gated bundle."""

import argparse
import platform
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.models import infer_signature
from torch import nn

from ml import checkpoint, export, plots, registry, report
from ml import recipe as recipes
from ml.checkpoint import CHECKPOINT
from ml.data import DataError, Dataset, scan
from ml.device import choose_device, mixed_precision
from ml.evaluate import evaluate, metrics, reference, summary
from ml.export import ExportError, Served
from ml.fit import EVALUATION_BATCH, Epoch, FitError, Fitted, fit
from ml.gate import GateError
from ml.loader import Pixels, plain_batches
from ml.model import ModelError, build, describe_weights
from ml.recipe import Recipe
from ml.registry import BUNDLE_FOLDER, RegistryError
from ml.tracking import DEFAULT_ADDRESS, Tracker, TrackingError, connect
from services.inference import bundle as bundles
from services.inference.bundle import Bundle, BundleError

CODE = Path(__file__).resolve().parent
RUNS = Path("runs")
CHAMPION = Path("models/champion")
# Training pictures are kept larger than the network takes, so that a random crop still has its resolution.
CACHE_MARGIN = 1.25
PARITY_PICTURES = 64

Failures = (DataError, ModelError, FitError, ExportError, BundleError, TrackingError, RegistryError, GateError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train on a folder of pictures, log to MLflow, export a bundle and put it through the gate."""
    try:
        return run(_parser().parse_args(arguments))
    except Failures as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    """Carry out a parsed command.

    Returns:
        0 if a sound bundle came of it, promoted or not; 1 if MLflow was lost, so that the gate is still to come.
    """
    # First, because it fails fast: an hour of training that cannot be logged is worse than a late start.
    client = connect(options.tracking_uri)
    commit = _git_commit()  # now: somebody may go on working while it trains
    data = scan(options.data, exclude=options.exclude)
    data.require_pictures()
    print(report.describe(data))
    folder: Path = options.resume or options.out or RUNS / f"{data.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    earlier = Recipe(**checkpoint.read(folder / CHECKPOINT)["recipe"]) if options.resume else None
    recipe = recipes.from_options(options, data.fingerprint, earlier)
    torch.manual_seed(recipe.seed)
    network = build(recipe.architecture, len(data.classes), recipe.weights)
    device = choose_device(options.device)
    print(f"{recipe.architecture} on {device} ({mixed_precision(device) or torch.float32}), run folder {folder}")
    tracker = _tracker(client, folder, recipe, data, device, options, commit)
    try:
        training, validation = _pixels(data, recipe, options.cache)
        fitted = fit(network, training, validation, recipe, device, folder, bool(options.resume), _log_to(tracker))
        print(f"Training ended: {fitted.ending}; best of {len(fitted.history)} epochs: {fitted.best_epoch}.")
        bundle = _finish(network, fitted, validation, data, recipe, tracker, folder, commit)
    except BaseException as error:
        tracker.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    unsent = tracker.finish()
    if unsent:
        lost = "\n  ".join(unsent)
        print(
            f"MLflow does not answer any more. Kept, but not sent:\n  {lost}\nThe bundle is in "
            f"{folder / BUNDLE_FOLDER}. When MLflow is back:\n  python -m ml.tracking {folder}\n"
            f"  python -m ml.registry register {folder}\n  python -m ml.registry gate --data {options.data}",
            file=sys.stderr,
        )
        return 1
    served = options.champion or CHAMPION
    verdict = registry.submit(client, bundle, tracker.run_id, data, _served(served, data))
    print(f"\nGate:\n{verdict.table()}")
    if verdict.promoted and data.synthetic and not options.champion:
        print(f"\nTrained on drawn pictures: {served} stays as it is (--champion {served} would replace it).")
    elif verdict.promoted:
        export.write(served, bundle)
        print(f"\n{served} now holds {bundle.manifest.name} {bundle.manifest.version}; `make up` serves it.")
    return 0


def _tracker(
    client: MlflowClient,
    folder: Path,
    recipe: Recipe,
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
        "machine": f"{platform.system()} {platform.machine()}, torch {torch.__version__}",
    }
    tracker = Tracker.start(client, folder, options.experiment or data.name, folder.name, tags)
    counts = {f"{split}_pictures": sum(by_class.values()) for split, by_class in data.counts().items()}
    report.write(folder / "left_out.csv", data.problems)
    tracker.file(folder / "left_out.csv", to="data")
    tracker.parameters(asdict(recipe) | counts | {"classes": ", ".join(data.classes), "device": str(device)})
    return tracker


def _pixels(data: Dataset, recipe: Recipe, cache: Path) -> tuple[Pixels, Pixels]:
    side = round(recipe.size * CACHE_MARGIN)
    training = Pixels(data.split("train"), side, recipe.resize, cache, "training pictures")
    return training, Pixels(data.split("validation"), recipe.size, recipe.resize, cache, "validation pictures")


def _log_to(tracker: Tracker) -> Callable[[Epoch], None]:
    def log(epoch: Epoch) -> None:
        values = asdict(epoch)
        tracker.metrics(values, step=values.pop("epoch"))

    return log


def _finish(
    network: nn.Module,
    fitted: Fitted,
    validation: Pixels,
    data: Dataset,
    recipe: Recipe,
    tracker: Tracker,
    folder: Path,
    commit: str | None,
) -> Bundle:
    """Export, evaluate, draw and log what the training gave."""
    network.load_state_dict(fitted.best)
    network.cpu().eval()
    temperature = export.fit_temperature(_logits(network, validation), validation.labels)
    bundle = export.export(
        network,
        temperature,
        list(data.classes),
        recipe.size,
        recipe.resize,
        data.name,
        bundles.Training(
            run_id=tracker.run_id,
            git_commit=commit,
            architecture=recipe.architecture,
            initial_weights=describe_weights(recipe.weights),
            epochs=len(fitted.history),
            seed=recipe.seed,
        ),
        bundles.Dataset(
            name=data.name,
            source=data.source,
            synthetic=data.synthetic,
            fingerprint=data.fingerprint,
            counts=data.counts(),
            left_out=data.left_out(),
        ),
        np.array(validation.pixels[:PARITY_PICTURES]),
    )
    evaluation = evaluate(bundle, data.split("test"))
    measured = metrics(evaluation)
    manifest = bundle.manifest.model_copy(update={"metrics": measured, "reference": reference(evaluation)})
    bundle = Bundle(manifest, bundle.model)
    print(f"\n{manifest.name} {manifest.version}, held-out pictures:\n{summary(measured)}")
    export.write(folder / BUNDLE_FOLDER, bundle)
    plots.save_all(fitted.history, evaluation, folder / "plots")
    _save_model(Served(network, temperature), recipe.size, folder / "model")
    values = measured.model_dump(exclude={"accuracy_ci95", "recall"}) | {
        f"recall_{name}": value for name, value in measured.recall.items()
    }
    tracker.metrics({f"test_{name}": value for name, value in values.items()})
    tracker.file(folder / BUNDLE_FOLDER, to=BUNDLE_FOLDER)
    tracker.file(folder / "plots", to="plots")
    tracker.model(folder / "model")
    return bundle


@torch.inference_mode()
def _logits(network: nn.Module, pictures: Pixels) -> torch.Tensor:
    batches = plain_batches(pictures, EVALUATION_BATCH, torch.device("cpu"))
    return torch.cat([network(batch) for batch, _ in batches])


def _save_model(served: Served, size: int, folder: Path) -> None:
    # Two pictures: mlflow exports with this example, and a batch of one would be exported as a fixed size.
    example = np.zeros((2, size, size, 3), dtype=np.uint8)
    with torch.inference_mode():
        answer = served(torch.from_numpy(example)).numpy()
    with warnings.catch_warnings():
        # torch.export warns of the device of shared weights; these are all on the CPU.
        warnings.simplefilter("ignore")
        mlflow.pytorch.save_model(served, folder, signature=infer_signature(example, answer), input_example=example)


def _served(folder: Path, data: Dataset) -> Bundle | None:
    """The bundle served so far, if it answers for the same classes; it may have been trained elsewhere."""
    if not (folder / bundles.MANIFEST_FILE).exists():
        return None
    bundle = bundles.load(folder)
    return bundle if bundle.manifest.classes == list(data.classes) else None


def _git_commit() -> str | None:
    """The commit this code is at, marked ``-dirty`` if it was changed since; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, cwd=CODE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ml.train", description=main.__doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with one sub-folder of pictures per class")
    add("--exclude", type=Path, help="file with patterns of pictures to leave out, one a line")
    add("--out", type=Path, help="the run's folder [runs/<data set>-<time>]")
    add("--resume", type=Path, metavar="RUN", help="go on with the run in this folder")
    add("--champion", type=Path, help=f"folder of the served bundle, replaced if the gate opens [{CHAMPION}]")
    add("--cache", type=Path, default=RUNS / "cache", help=f"folder for decoded pictures [{RUNS / 'cache'}]")
    add("--device", default="auto", choices=("auto", "cuda", "mps", "cpu"), help="where to compute [the best there is]")
    add("--tracking-uri", help=f"MLflow's address [MLFLOW_TRACKING_URI, else {DEFAULT_ADDRESS}]")
    add("--experiment", help="MLflow experiment [the data set's name]")
    recipes.add_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())

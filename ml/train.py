"""One command from a folder of photos to a tracked, gated bundle."""

import argparse
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import numpy as np
import torch
from mlflow.models import infer_signature

from ml import export, plots, registry
from ml.card import CARD_FILE, render
from ml.data import DataError, Dataset, scan
from ml.evaluate import evaluate, metrics, reference, summary
from ml.export import ExportError, Served
from ml.fit import (
    CHECKPOINT,
    EVALUATION_BATCH,
    Epoch,
    FitError,
    Fitted,
    Recipe,
    choose_device,
    fit,
    mixed_precision,
    read_checkpoint,
)
from ml.loader import Pixels, plain_batches
from ml.model import ARCHITECTURES, ModelError, build, describe_weights
from ml.registry import RegistryError
from ml.tracking import DEFAULT_ADDRESS, Tracker, TrackingError, connect
from services.inference import bundle as bundles
from services.inference.bundle import Bundle, BundleError, Input, Manifest, Training
from services.inference.image import Resize

RUNS = Path("runs")
CHAMPION = Path("models/champion")
# Training pictures are kept larger than the network takes, so that a random crop still has its resolution.
CACHE_MARGIN = 1.25
PARITY_PICTURES = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Train on a folder of pictures, log to MLflow, export a bundle and put it through the gate."""
    options = _parser().parse_args(arguments)
    try:
        return run(options)
    except (DataError, ModelError, FitError, ExportError, BundleError, TrackingError, RegistryError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    """Carry out a parsed command; 0 if a sound bundle came of it, promoted or not."""
    # First, because it fails fast: an hour of training that cannot be logged is worse than a late start.
    client = connect(options.tracking_uri)
    device = choose_device(options.device)
    data = scan(options.data, exclude=options.exclude)
    data.require_pictures()
    print(_describe_data(data))
    folder: Path = options.resume or options.out or RUNS / f"{data.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    recipe = _recipe(options, folder)
    network = build_seeded(recipe, len(data.classes))
    if options.resume:
        tracker = Tracker.reopen(client, folder)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        tracker = Tracker.start(client, folder, options.experiment or data.name, folder.name, _tags(data))
        tracker.parameters(asdict(recipe) | {"resize": options.resize, "device": str(device)} | _data_parameters(data))
    print(f"{recipe.architecture} on {device} ({mixed_precision(device) or torch.float32}), run folder {folder}")
    status = "FAILED"
    try:
        fitted, validation = _fit(network, data, recipe, options, device, folder, tracker)
        bundle, served = _bundle(fitted, validation, data, recipe, options.resize, tracker.run_id)
        evaluation = evaluate(bundle, data.split("test"))
        measured = metrics(evaluation)
        manifest = bundle.manifest.model_copy(update={"metrics": measured, "reference": reference(evaluation)})
        bundle = Bundle(manifest, bundle.model)
        export.write(folder / "bundle", bundle)
        (folder / "bundle" / CARD_FILE).write_text(render(manifest), encoding="utf-8")
        print(f"\n{manifest.name} {manifest.version}, held-out pictures:\n{summary(measured)}")
        plots.save_all(fitted.history, evaluation, folder / "plots")
        _save_model(served, recipe.size, folder / "model")
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        if status != "FINISHED":
            tracker.finish(status)
    scalars = {
        f"test_{name}": value for name, value in measured.model_dump(exclude={"accuracy_ci95", "recall"}).items()
    }
    tracker.metrics(scalars | {f"test_recall_{name}": value for name, value in measured.recall.items()})
    for part in ("bundle", "plots"):
        tracker.file(folder / part, to=part)
    tracker.model(folder / "model")
    unsent = tracker.finish(status)
    if unsent:
        print("MLflow does not answer any more. Not sent:", *unsent, sep="\n  ", file=sys.stderr)
        print(
            f"The bundle is in {folder / 'bundle'}. Send the rest later: python -m ml.tracking {folder}",
            file=sys.stderr,
        )
        return 1
    verdict = _gate(client, bundle, data, options, tracker.run_id)
    print(f"\nGate:\n{verdict.table()}")
    return 0


def build_seeded(recipe: Recipe, classes: int) -> torch.nn.Module:
    """Build the recipe's network; its random weights depend on the recipe's seed alone."""
    torch.manual_seed(recipe.seed)
    return build(recipe.architecture, classes, recipe.weights)


def _recipe(options: argparse.Namespace, folder: Path) -> Recipe:
    given = {f.name: getattr(options, f.name) for f in fields(Recipe) if getattr(options, f.name) is not None}
    if options.resume:
        return replace(Recipe(**read_checkpoint(folder / CHECKPOINT)["recipe"]), **given)
    return Recipe(**({"train_size": given["size"]} if "size" in given else {}) | given)


def _fit(
    network: torch.nn.Module,
    data: Dataset,
    recipe: Recipe,
    options: argparse.Namespace,
    device: torch.device,
    folder: Path,
    tracker: Tracker,
) -> tuple[Fitted, Pixels]:
    cache = options.cache
    side = round(recipe.size * CACHE_MARGIN)
    training = Pixels(data.split("train"), side, options.resize, cache, "training pictures")
    validation = Pixels(data.split("validation"), recipe.size, options.resize, cache, "validation pictures")

    def log(epoch: Epoch) -> None:
        values = asdict(epoch)
        tracker.metrics(values, step=values.pop("epoch"))

    fitted = fit(network, training, validation, recipe, device, folder, bool(options.resume), log)
    print(f"Training ended: {fitted.ending}; best of {len(fitted.history)} epochs: {fitted.best_epoch}.")
    network.load_state_dict(fitted.best)
    network.cpu().eval()
    return fitted, validation


@torch.inference_mode()
def _logits(network: torch.nn.Module, pictures: Pixels) -> torch.Tensor:
    batches = plain_batches(pictures, EVALUATION_BATCH, torch.device("cpu"))
    return torch.cat([network(batch) for batch, _ in batches])


def _bundle(
    fitted: Fitted, validation: Pixels, data: Dataset, recipe: Recipe, resize: Resize, run_id: str
) -> tuple[Bundle, Served]:
    network = build(recipe.architecture, len(data.classes))
    network.load_state_dict(fitted.best)
    network.eval()
    temperature = export.fit_temperature(_logits(network, validation), validation.labels)
    served = Served(network, temperature)
    model = export.to_onnx(served, list(data.classes), recipe.size)
    now = datetime.now(UTC)
    manifest = Manifest(
        schema_version=1,
        name=data.name,
        version=f"{now:%Y%m%d}-{export.sha256(model)[:8]}",
        created=now.isoformat(timespec="seconds"),
        classes=list(data.classes),
        input=Input(size=recipe.size, resize=resize),
        model_sha256=export.sha256(model),
        training=Training(
            run_id=run_id,
            git_commit=_git_commit(),
            architecture=recipe.architecture,
            initial_weights=describe_weights(recipe.weights),
            epochs=len(fitted.history),
            seed=recipe.seed,
        ),
        dataset=bundles.Dataset(
            name=data.name,
            source=data.source,
            synthetic=data.synthetic,
            fingerprint=data.fingerprint,
            counts=data.counts(),
            left_out=data.left_out(),
        ),
        parity=bundles.Parity(pictures=0, max_probability_difference=0),
        metrics=None,
        reference=None,
    )
    pixels = np.array(validation.pixels[:PARITY_PICTURES])
    parity = export.check_parity(Bundle(manifest, model), served, pixels)
    return Bundle(manifest.model_copy(update={"parity": parity}), model), served


def _save_model(served: Served, size: int, folder: Path) -> None:
    # Two pictures: mlflow exports with this example, and a batch of one would be exported as a fixed size.
    example = np.zeros((2, size, size, 3), dtype=np.uint8)
    with torch.inference_mode():
        answer = served(torch.from_numpy(example)).numpy()
    mlflow.pytorch.save_model(
        served, folder, signature=infer_signature(example, answer), input_example=example, extra_pip_requirements=None
    )


def _gate(
    client: mlflow.MlflowClient, bundle: Bundle, data: Dataset, options: argparse.Namespace, run_id: str
) -> registry.Verdict:
    name = bundle.manifest.name
    served_here = options.champion or CHAMPION
    version = registry.register(client, bundle, run_id)
    champion = registry.fetch(client, name, registry.CHAMPION) or _shipped(served_here, data)
    verdict = registry.gate(bundle, champion, data)
    if verdict.promoted:
        registry.promote(client, name, version.version)
        if data.synthetic and options.champion is None:
            print(f"\nTrained on drawn pictures: {served_here} stays as it is (pass --champion to replace it).")
        else:
            export.write(served_here, bundle)
            (served_here / CARD_FILE).write_text(render(bundle.manifest), encoding="utf-8")
            print(f"\n{served_here} now holds {name} {bundle.manifest.version}; `make up` serves it.")
    return verdict


def _shipped(folder: Path, data: Dataset) -> Bundle | None:
    """The bundle served so far, if it answers for the same classes; it may have been trained elsewhere."""
    if not (folder / bundles.MANIFEST_FILE).exists():
        return None
    shipped = bundles.load(folder)
    return shipped if shipped.manifest.classes == list(data.classes) else None


def _git_commit() -> str | None:
    try:
        result = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def _tags(data: Dataset) -> dict[str, str]:
    return {
        "dataset": data.name,
        "dataset_fingerprint": data.fingerprint,
        "synthetic": str(data.synthetic).lower(),
        "git_commit": _git_commit() or "unknown",
        "machine": f"{platform.system()} {platform.machine()}, torch {torch.__version__}",
    }


def _data_parameters(data: Dataset) -> dict[str, object]:
    counts = {f"{split}_pictures": sum(by_class.values()) for split, by_class in data.counts().items()}
    return {"dataset_fingerprint": data.fingerprint, "classes": ", ".join(data.classes), **counts}


def _describe_data(data: Dataset) -> str:
    parts = [f"{sum(by_class.values()):,} for {split}" for split, by_class in data.counts().items()]
    left_out = f"; left out: {dict(data.left_out())}" if data.problems else ""
    return f"{data.name}: {', '.join(data.classes)}; {', '.join(parts)}{left_out}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ml.train", description=main.__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add, recipe = parser.add_argument, Recipe()
    add("--data", type=Path, required=True, help="folder with one sub-folder of pictures per class")
    add("--exclude", type=Path, help="file with patterns of pictures to leave out, one a line")
    add("--architecture", choices=ARCHITECTURES, help=f"[{recipe.architecture}]")
    add("--weights", help=f"scratch, imagenet, or a checkpoint file [{recipe.weights}]")
    add("--size", type=int, help=f"side of the pictures the network takes, pixels [{recipe.size}]")
    add("--train-size", type=int, help="side of the training crops, pixels; smaller is faster [as --size]")
    add("--resize", choices=("stretch", "center-crop"), default="stretch", help="how a picture becomes a square")
    add("--epochs", type=int, help=f"[{recipe.epochs}]")
    add("--batch", type=int, help=f"pictures in a step [{recipe.batch}]")
    add("--learning-rate", type=float, help=f"highest of the schedule [{recipe.learning_rate}]")
    add("--weight-decay", type=float, help=f"[{recipe.weight_decay}]")
    add("--label-smoothing", type=float, help=f"[{recipe.label_smoothing}]")
    add("--ema", type=float, help=f"decay of the moving average of the weights [{recipe.ema}]")
    add("--patience", type=int, help=f"epochs without a lower validation loss before the end [{recipe.patience}]")
    add("--seed", type=int, help=f"[{recipe.seed}]")
    add("--device", default="auto", choices=("auto", "cuda", "mps", "cpu"), help="where to compute")
    add("--resume", type=Path, help="go on with the run in this folder")
    add("--out", type=Path, help="the run's folder [runs/<data set>-<time>]")
    add("--cache", type=Path, default=RUNS / "cache", help="folder for decoded pictures")
    add("--champion", type=Path, help=f"folder of the served bundle, replaced if the gate opens [{CHAMPION}]")
    add("--experiment", help="MLflow experiment [the data set's name]")
    add("--tracking-uri", help=f"MLflow's address [MLFLOW_TRACKING_URI, else {DEFAULT_ADDRESS}]")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""What a training leaves: a bundle, measured, drawn and logged."""

import shutil
import warnings
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import torch
from mlflow.models import infer_signature
from torch import nn

from ml import export, plots, registry
from ml.bundle import write
from ml.calibrate import fit_temperature
from ml.data import Dataset
from ml.evaluate import evaluate, metrics, reference, summary
from ml.export import Served
from ml.fit import EVALUATION_BATCH, Fitted
from ml.loader import Pixels, plain_batches
from ml.recipe import Recipe
from ml.tracking import Tracker
from services.inference import bundle as bundles
from services.inference.bundle import Bundle

PARITY_PICTURES = 64


def finish(
    network: nn.Module,
    fitted: Fitted,
    validation: Pixels,
    data: Dataset,
    recipe: Recipe,
    training: bundles.Training,
    tracker: Tracker,
    folder: Path,
) -> Bundle:
    """Export, evaluate, draw and log what a training gave.

    Args:
        network: Takes the best weights.
        fitted: How the training ended.
        validation: Pictures for the temperature and the parity.
        data: Its test split is what the bundle is measured on.
        recipe: Settings.
        training: For the manifest; the epochs are filled in.
        tracker: The run in MLflow.
        folder: The run's folder; gets ``bundle``, ``plots`` and ``model``.

    Raises:
        ExportError: The graph answers differently from the network; nothing is written.
    """
    network.load_state_dict(fitted.best)
    network.cpu().eval()
    temperature = fit_temperature(_logits(network, validation), validation.labels)
    bundle = export.export(
        network,
        temperature,
        list(data.classes),
        recipe.size,
        recipe.resize,
        data.name,
        training.model_copy(update={"epochs": len(fitted.history)}),
        bundles.Dataset(
            name=data.name,
            source=data.source,
            synthetic=data.synthetic,
            fingerprint=data.fingerprint,
            counts=data.counts(),
            left_out=data.left_out(),
        ),
        _some_of_each_class(validation),
    )
    evaluation = evaluate(bundle, data.split("test"))
    measured = metrics(evaluation)
    manifest = bundle.manifest.model_copy(update={"metrics": measured, "reference": reference(evaluation)})
    bundle = replace(bundle, manifest=manifest)
    print(f"\n{manifest.name} {manifest.version}, held-out pictures:\n{summary(measured)}")
    write(folder / registry.BUNDLE_FOLDER, bundle)
    plots.save_all(fitted.history, evaluation, folder / "plots")
    _save_model(Served(network, temperature), recipe.size, folder / "model")
    values = measured.model_dump(exclude={"accuracy_ci95", "recall"}) | {
        f"recall_{name}": value for name, value in measured.recall.items()
    }
    tracker.metrics({f"test_{name}": value for name, value in values.items()})
    tracker.file(folder / registry.BUNDLE_FOLDER, to=registry.bundle_path(manifest))
    tracker.file(folder / "plots", to="plots")
    tracker.model(folder / "model")
    return bundle


@torch.inference_mode()
def _logits(network: nn.Module, pictures: Pixels) -> torch.Tensor:
    batches = plain_batches(pictures, EVALUATION_BATCH, torch.device("cpu"))
    return torch.cat([network(batch) for batch, _ in batches])


def _some_of_each_class(pictures: Pixels) -> np.ndarray:
    """Up to ``PARITY_PICTURES``, evenly spaced, for the pictures are sorted by class."""
    chosen = np.linspace(0, len(pictures) - 1, min(PARITY_PICTURES, len(pictures))).astype(int)
    return np.array(pictures.pixels[chosen])


def _save_model(served: Served, size: int, folder: Path) -> None:
    # A resumed run has one already, and mlflow writes over nothing.
    shutil.rmtree(folder, ignore_errors=True)
    # Two pictures: mlflow exports with this example, and a batch of one would be exported as a fixed size.
    example = np.zeros((2, size, size, 3), dtype=np.uint8)
    with torch.inference_mode():
        answer = served(torch.from_numpy(example)).numpy()
    with warnings.catch_warnings():
        # torch.export warns of the device of shared weights; these are all on the CPU.
        warnings.simplefilter("ignore")
        mlflow.pytorch.save_model(
            served,
            folder,
            signature=infer_signature(example, answer),
            input_example=example,
            # Named, or mlflow would find out by loading the model in another process, which takes longer than the rest.
            pip_requirements=[f"torch=={version('torch')}", f"numpy=={version('numpy')}"],
        )

"""What a training leaves: a bundle, measured, drawn and logged."""

import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import torch
from mlflow.models import infer_signature
from torch import nn

from bundle import manifest as bundles
from bundle.load import Bundle
from bundle.manifest import Precision
from bundle.predictor import Predictor
from ml.data.dataset import Dataset, LabelledImage
from ml.evaluation import out_of_distribution as neither
from ml.evaluation import plots
from ml.evaluation import robustness as acceptance
from ml.evaluation.metrics import Evaluation, evaluate, metrics, reference, summary
from ml.export import graph as export
from ml.export.graph import ServingModel
from ml.export.mahalanobis import Distance, choose_limits
from ml.export.write_bundle import write
from ml.model.features import Features
from ml.registry import model_registry as registry
from ml.tracking.tracker import Tracker
from ml.training.config import TrainingConfig
from ml.training.epoch import EVALUATION_BATCH
from ml.training.loader import Pixels, plain_batches
from ml.training.temperature_scaling import fit_temperature
from ml.training.trainer import TrainingResult

PARITY_PICTURES = 64
CALIBRATION_PICTURES = 256


@dataclass(frozen=True)
class ExportOptions:
    """What a person may add to the measurements.

    Attributes:
        precision: Of the exported weights.
        mirrored: Whether the exported network looks at each picture's mirror image as well.
        acceptance: Photos as people send them, in the data set's classes; empty for none.
        neither: Files of pictures that show none of the classes, by kind.
    """

    precision: Precision = "fp32"
    mirrored: bool = False
    acceptance: tuple[LabelledImage, ...] = ()
    neither: Mapping[str, Sequence[bytes]] = field(default_factory=dict)


@dataclass(frozen=True)
class ServingPixels:
    """Pictures as they will be served.

    Attributes:
        size: Their side, pixels. A network that learned from crops sees things larger than they are in whole pictures,
            so the best size is above that of the crops (Touvron et al. 2019, "Fixing the train-test resolution …").
        familiar: Some that the network learned from.
        validation: To choose the temperature and the limits of uncertain answers with, and to check the export.
    """

    size: int
    familiar: Pixels
    validation: Pixels


def finish(
    network: nn.Module,
    fitted: TrainingResult,
    shown: ServingPixels,
    data: Dataset,
    recipe: TrainingConfig,
    training: bundles.Training,
    tracker: Tracker,
    folder: Path,
    extras: ExportOptions = ExportOptions(),
) -> Bundle:
    """Export, evaluate, draw and log what a training gave.

    Args:
        network: Takes the best weights.
        fitted: How the training ended.
        shown: Pictures as they will be served.
        data: Its test split is what the bundle is measured on.
        recipe: Settings.
        training: For the manifest; epochs and hours are filled in.
        tracker: The run in MLflow.
        folder: The run's folder; gets ``bundle``, ``plots`` and ``model``.
        extras: What else to measure.

    Raises:
        ExportError: The graph answers differently from the network; nothing is written.
    """
    network.load_state_dict(fitted.best)
    network.cpu().eval()
    familiar, validation = shown.familiar, shown.validation
    features = Features(network)
    logits, _ = _outputs(features, validation)
    if extras.mirrored:
        logits = (logits + _outputs(features, validation, mirrored=True)[0]) / 2
    temperature = fit_temperature(logits, validation.labels)
    distance = Distance(_outputs(features, familiar)[1], familiar.labels)
    served = ServingModel(network, shown.size, temperature, distance, extras.mirrored)
    bundle = export.export(
        served,
        list(data.classes),
        recipe.resize,
        data.name,
        training.model_copy(update={"epochs": len(fitted.history), "hours": fitted.hours}),
        bundles.Dataset(
            name=data.name,
            source=data.source,
            synthetic=data.synthetic,
            fingerprint=data.fingerprint,
            counts=data.counts(),
            left_out=data.left_out(),
            lists=data.lists,
        ),
        _some_of_each_class(validation, CALIBRATION_PICTURES if extras.precision == "int8" else PARITY_PICTURES),
        extras.precision,
    )
    bundle, evaluation = measure(bundle, validation, data.split("test"), extras)
    manifest, measured = bundle.manifest, bundle.manifest.metrics
    assert measured is not None, "it was just measured"
    print(f"\n{manifest.name} {manifest.version}, held-out pictures:\n{summary(measured)}")
    write(folder / registry.BUNDLE_FOLDER, bundle)
    plots.save_all(fitted.history, evaluation, folder / "plots")
    _save_model(ServingModel(network, shown.size, temperature, mirrored=extras.mirrored), folder / "model")
    single = {name: value for name, value in measured.model_dump().items() if isinstance(value, int | float)}
    values = single | {f"recall_{name}": value for name, value in measured.recall.items()}
    tracker.metrics({f"test_{name}": value for name, value in values.items()})
    tracker.file(folder / registry.BUNDLE_FOLDER, to=registry.bundle_path(manifest))
    tracker.file(folder / "plots", to="plots")
    tracker.model(folder / "model")
    return bundle


def measure(
    bundle: Bundle, validation: Pixels, test: Sequence[LabelledImage], extras: ExportOptions
) -> tuple[Bundle, Evaluation]:
    """Fill in what a manifest says of a bundle's answers: limits first, as the rest depends on them."""
    manifest = bundle.manifest
    bundle = replace(bundle, manifest=manifest.model_copy(update={"uncertainty": _limits(bundle, validation)}))
    evaluation = evaluate(bundle, test)
    found = {
        "metrics": metrics(evaluation),
        "reference": reference(evaluation),
        "acceptance": acceptance.measure(bundle, extras.acceptance) if extras.acceptance else None,
        "neither": neither.measure(bundle, extras.neither),
    }
    return replace(bundle, manifest=bundle.manifest.model_copy(update=found)), evaluation


def _limits(bundle: Bundle, validation: Pixels) -> bundles.Uncertainty:
    predictor = Predictor(bundle)
    starts = range(0, len(validation), EVALUATION_BATCH)
    answers = [predictor.measure(np.array(validation.pixels[i : i + EVALUATION_BATCH])) for i in starts]
    probabilities, distances = (np.concatenate(part) for part in zip(*answers, strict=True))
    return choose_limits(probabilities, distances)


@torch.inference_mode()
def _outputs(features: Features, pictures: Pixels, mirrored: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and features of all pictures, or of their mirror images."""
    batches = plain_batches(pictures, EVALUATION_BATCH, torch.device("cpu"))
    outputs = (features(batch.flip(3) if mirrored else batch) for batch, _ in batches)
    logits, seen = zip(*outputs, strict=True)
    return torch.cat(logits), torch.cat(seen)


def _some_of_each_class(pictures: Pixels, most: int) -> np.ndarray:
    """Up to so many, evenly spaced, for the pictures are sorted by class."""
    chosen = np.linspace(0, len(pictures) - 1, min(most, len(pictures))).astype(int)
    return np.array(pictures.pixels[chosen])


def _save_model(served: ServingModel, folder: Path) -> None:
    # A resumed run has one already, and mlflow writes over nothing.
    shutil.rmtree(folder, ignore_errors=True)
    # Two pictures: mlflow exports with this example, and a batch of one would be exported as a fixed size.
    example = np.zeros((2, served.size, served.size, 3), dtype=np.uint8)
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

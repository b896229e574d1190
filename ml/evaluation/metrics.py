"""Held-out metrics of a bundle, computed with the service's own decoding and ONNX Runtime."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from tqdm import tqdm

from bundle.image_statistics import RANGES, statistics
from bundle.load import Bundle, BundleError, load
from bundle.manifest import CalibrationBin, Histogram, Metrics, Mistake, Reference
from bundle.predictor import Predictor
from bundle.preprocess import ImageError, decode
from ml.data import exclude
from ml.data.dataset import DataError, LabelledImage
from ml.data.scan import collect
from ml.errors import UserError

CALIBRATION_BINS = 15
REFERENCE_BINS = 20
BATCH = 32
WORST_MISTAKES = 12
# A picture is called dark, blurred, … where it is so among the most extreme share of its set.
UNUSUAL = 0.1
TRAITS = {"brightness": ("dark", "bright"), "contrast": ("flat", "harsh"), "sharpness": ("blurred", "busy")}

Answers = tuple[NDArray[np.float32], NDArray[np.bool_] | None, dict[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class Evaluation:
    """What a bundle answered for pictures whose class is known.

    Attributes:
        pictures: The pictures, in order.
        labels: Their classes as indices, shape ``(n,)``.
        probabilities: The answers, shape ``(n, classes)``.
        classes: Names of the classes, in output order.
        statistics: What ``bundle.image_statistics`` says of the decoded pictures, each shape ``(n,)``.
        uncertain: Which answers the service flags, shape ``(n,)``; None if the bundle has no limits for that.
    """

    images: tuple[LabelledImage, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    classes: tuple[str, ...]
    statistics: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    uncertain: NDArray[np.bool_] | None = None

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The likeliest class of each picture, shape ``(n,)``."""
        return self.probabilities.argmax(1)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each answer is right, shape ``(n,)``."""
        return self.predictions == self.labels

    @property
    def confidences(self) -> NDArray[np.float32]:
        """The probability of each answer, shape ``(n,)``."""
        return self.probabilities.max(1)


def evaluate(
    bundle: Bundle,
    pictures: Sequence[LabelledImage],
    progress: bool = True,
    spoil: Callable[[bytes], bytes] = lambda data: data,
) -> Evaluation:
    """Ask a bundle about pictures, exactly as the service would.

    Args:
        bundle: The bundle to measure.
        pictures: At least one; their labels are indices into the bundle's classes.
        progress: Whether to show a progress bar.
        spoil: What to do to each file's bytes before.

    Raises:
        BundleError: The bundle's model and manifest do not belong together.
    """
    predictor = Predictor(bundle)
    settings = bundle.manifest.input

    def answer(batch: Sequence[LabelledImage]) -> Answers:
        squares = np.stack([decode(spoil(p.path.read_bytes()), settings.size, settings.resize) for p in batch])
        return *predictor.answer(squares), statistics(squares)

    batches = [pictures[i : i + BATCH] for i in range(0, len(pictures), BATCH)]
    # Decoding and onnxruntime both let other threads run, so threads are enough.
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(pictures), desc="evaluating", unit=" pictures", disable=not progress) as bar,
    ):
        answers = []
        for one in pool.map(answer, batches):
            answers.append(one)
            bar.update(len(one[0]))
    probabilities, flags, numbers = zip(*answers, strict=True)
    return Evaluation(
        tuple(pictures),
        np.array([p.label for p in pictures]),
        np.concatenate(probabilities),
        tuple(bundle.manifest.classes),
        {name: np.concatenate([part[name] for part in numbers]) for name in RANGES},
        np.concatenate(flags) if bundle.manifest.uncertainty else None,
    )


def metrics(evaluation: Evaluation) -> Metrics:
    """Sum an evaluation up for the manifest.

    The interval is Wilson's score interval at 95 %; the calibration error is the expected calibration error of
    Guo et al. 2017, "On Calibration of Modern Neural Networks", over equal-width bins of the confidence.
    """
    correct, labels = evaluation.correct, evaluation.labels
    of_class = {name: correct[labels == i] for i, name in enumerate(evaluation.classes) if (labels == i).any()}
    of_true_class = evaluation.probabilities[np.arange(len(labels)), labels]
    return Metrics(
        pictures=len(labels),
        accuracy=float(correct.mean()),
        accuracy_ci95=_wilson(correct),
        recall={name: float(right.mean()) for name, right in of_class.items()},
        recall_ci95={name: _wilson(right) for name, right in of_class.items()},
        log_loss=float(-np.log(of_true_class.clip(1e-7, 1)).mean()),
        expected_calibration_error=calibration_error(evaluation),
        calibration=calibration(evaluation),
        worst_mistakes=worst_mistakes(evaluation),
        uncertain=None if evaluation.uncertain is None else float(evaluation.uncertain.mean()),
    )


def _wilson(correct: NDArray[np.bool_]) -> tuple[float, float]:
    interval = binomtest(int(correct.sum()), len(correct)).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def calibration(evaluation: Evaluation) -> list[CalibrationBin]:
    """Confidence and accuracy in equal-width bins of the confidence, empty ones left out."""
    confidences, correct = evaluation.confidences, evaluation.correct
    bins = np.minimum((confidences * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return [
        CalibrationBin(
            pictures=int((bins == b).sum()),
            confidence=float(confidences[bins == b].mean()),
            accuracy=float(correct[bins == b].mean()),
        )
        for b in np.unique(bins)
    ]


def calibration_error(evaluation: Evaluation) -> float:
    """Mean distance between confidence and accuracy over the bins, weighted by the pictures in each."""
    gaps = [abs(b.confidence - b.accuracy) * b.pictures for b in calibration(evaluation)]
    return sum(gaps) / len(evaluation.labels)


def worst_mistakes(evaluation: Evaluation) -> list[Mistake]:
    """The wrong answers of the highest confidence, with what sets these pictures apart from the others."""
    wrong = np.flatnonzero(~evaluation.correct)
    worst = wrong[np.argsort(-evaluation.confidences[wrong], kind="stable")][:WORST_MISTAKES]
    limits = {name: np.quantile(values, [UNUSUAL, 1 - UNUSUAL]) for name, values in evaluation.statistics.items()}
    mistakes = []
    for i in worst:
        path = evaluation.images[i].path
        traits = []
        for name, (low, high) in limits.items():
            value = evaluation.statistics[name][i]
            traits += [TRAITS[name][int(value > high)]] if not low <= value <= high else []
        mistakes.append(
            Mistake(
                picture=f"{path.parent.name}/{path.name}",
                label=evaluation.classes[evaluation.labels[i]],
                predicted=evaluation.classes[evaluation.predictions[i]],
                confidence=float(evaluation.confidences[i]),
                traits=traits,
            )
        )
    return mistakes


def reference(evaluation: Evaluation) -> Reference:
    """Distributions of the answers, for comparing live traffic with."""
    classes = len(evaluation.classes)
    shares = np.bincount(evaluation.predictions, minlength=classes) / len(evaluation.labels)
    # Rounding takes a confidence out of its range by a hair.
    confidences = evaluation.confidences.clip(1 / classes, 1)
    counts, edges = np.histogram(confidences, REFERENCE_BINS, range=(1 / classes, 1))
    return Reference(
        predicted_classes=dict(zip(evaluation.classes, shares.tolist(), strict=True)),
        confidence_bins=edges.tolist(),
        confidence_shares=(counts / counts.sum()).tolist(),
        pictures={name: _histogram(values, RANGES[name]) for name, values in evaluation.statistics.items()},
    )


def _histogram(values: NDArray[np.float32], limits: tuple[float, float]) -> Histogram:
    counts, edges = np.histogram(values.clip(*limits), REFERENCE_BINS, range=limits)
    return Histogram(bins=edges.tolist(), shares=(counts / counts.sum()).tolist())


def summary(values: Metrics) -> str:
    """Lay the metrics out as a small table."""
    low, high = values.accuracy_ci95
    rows = [
        ("pictures", f"{values.pictures:,}"),
        ("accuracy", f"{values.accuracy:.2%}  (95 % interval {low:.2%} to {high:.2%})"),
        *((f"recall of {name}", f"{recall:.2%}") for name, recall in values.recall.items()),
        ("log loss", f"{values.log_loss:.4f}"),
        ("calibration error", f"{values.expected_calibration_error:.2%}"),
    ]
    return "\n".join(f"  {name:<20} {value}" for name, value in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a bundle on a folder of pictures."""
    parser = argparse.ArgumentParser(prog="python -m ml.evaluate", description=main.__doc__)
    parser.add_argument("bundle", type=Path, help="folder with model.onnx and manifest.json")
    parser.add_argument("--data", type=Path, required=True, help="folder with one sub-folder of pictures per class")
    exclude.add_argument(parser)
    parser.add_argument("--split", choices=("test", "validation", "train", "all"), default="test")
    options = parser.parse_args(arguments)
    try:
        bundle = load(options.bundle)
        data = collect(options.data, options.exclude)
        if list(data.classes) != bundle.manifest.classes:
            raise DataError(
                f"{options.data} has the classes {', '.join(data.classes)}, "
                f"but the bundle knows {', '.join(bundle.manifest.classes)}."
            )
        pictures = data.images if options.split == "all" else data.split(options.split)
        if not pictures:
            raise DataError(f"{options.data} has no pictures in its {options.split} split: choose --split all.")
        result = metrics(evaluate(bundle, pictures))
    except (UserError, BundleError, ImageError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{bundle.manifest.name} {bundle.manifest.version} on {options.data} ({options.split}):\n{summary(result)}")
    return 0

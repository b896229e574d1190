"""Held-out metrics of a bundle, computed with the service's own decoding and ONNX Runtime."""

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from tqdm import tqdm

from ml import exclude
from ml.data import DataError, Picture
from ml.errors import UserError
from ml.scan import collect
from services.inference.bundle import Bundle, BundleError, Metrics, Reference, load
from services.inference.image import PictureError, decode
from services.inference.predictor import Predictor

CALIBRATION_BINS = 15
REFERENCE_BINS = 20
BATCH = 32


@dataclass(frozen=True)
class Evaluation:
    """What a bundle answered for pictures whose class is known.

    Attributes:
        pictures: The pictures, in order.
        labels: Their classes as indices, shape ``(n,)``.
        probabilities: The answers, shape ``(n, classes)``.
        classes: Names of the classes, in output order.
    """

    pictures: tuple[Picture, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    classes: tuple[str, ...]

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


def evaluate(bundle: Bundle, pictures: Sequence[Picture], progress: bool = True) -> Evaluation:
    """Ask a bundle about pictures, exactly as the service would.

    Args:
        bundle: The bundle to measure.
        pictures: At least one; their labels are indices into the bundle's classes.
        progress: Whether to show a progress bar.

    Raises:
        BundleError: The bundle's model and manifest do not belong together.
    """
    predictor = Predictor(bundle)
    settings = bundle.manifest.input

    def answer(batch: Sequence[Picture]) -> NDArray[np.float32]:
        squares = [decode(p.path.read_bytes(), settings.size, settings.resize) for p in batch]
        return predictor.predict(np.stack(squares))

    batches = [pictures[i : i + BATCH] for i in range(0, len(pictures), BATCH)]
    # Decoding and onnxruntime both let other threads run, so threads are enough.
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(pictures), desc="evaluating", unit=" pictures", disable=not progress) as bar,
    ):
        answers = []
        for rows in pool.map(answer, batches):
            answers.append(rows)
            bar.update(len(rows))
    labels = np.array([p.label for p in pictures])
    return Evaluation(tuple(pictures), labels, np.concatenate(answers), tuple(bundle.manifest.classes))


def metrics(evaluation: Evaluation) -> Metrics:
    """Sum an evaluation up for the manifest.

    The interval is Wilson's score interval at 95 %; the calibration error is the expected calibration error of
    Guo et al. 2017, "On Calibration of Modern Neural Networks", over equal-width bins of the confidence.
    """
    correct, labels = evaluation.correct, evaluation.labels
    interval = binomtest(int(correct.sum()), len(labels)).proportion_ci(0.95, method="wilson")
    of_true_class = evaluation.probabilities[np.arange(len(labels)), labels]
    return Metrics(
        pictures=len(labels),
        accuracy=float(correct.mean()),
        accuracy_ci95=(float(interval.low), float(interval.high)),
        recall={
            name: float(correct[labels == i].mean()) for i, name in enumerate(evaluation.classes) if (labels == i).any()
        },
        log_loss=float(-np.log(of_true_class.clip(1e-7, 1)).mean()),
        expected_calibration_error=calibration_error(evaluation),
    )


def calibration_error(evaluation: Evaluation) -> float:
    """Mean distance between confidence and accuracy over the bins, weighted by the pictures in each."""
    confidences, correct = evaluation.confidences, evaluation.correct
    bins = np.minimum((confidences * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = [
        abs(float(confidences[bins == b].mean()) - float(correct[bins == b].mean())) * int((bins == b).sum())
        for b in np.unique(bins)
    ]
    return sum(gaps) / len(correct)


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
    )


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
        pictures = data.pictures if options.split == "all" else data.split(options.split)
        if not pictures:
            raise DataError(f"{options.data} has no pictures in its {options.split} split: choose --split all.")
        result = metrics(evaluate(bundle, pictures))
    except (UserError, BundleError, PictureError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{bundle.manifest.name} {bundle.manifest.version} on {options.data} ({options.split}):\n{summary(result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Compute the metrics of an evaluation for the manifest."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from bundle.manifest import CalibrationBin, Metrics, Mistake
from ml.evaluation.evaluation import Evaluation

CALIBRATION_BINS = 15
WORST_MISTAKES = 12
# An image is called dark, blurred, … if it is among this most extreme share of its set.
UNUSUAL = 0.1
TRAITS = {"brightness": ("dark", "bright"), "contrast": ("flat", "harsh"), "sharpness": ("blurred", "busy")}


def metrics(evaluation: Evaluation) -> Metrics:
    """Compute the metrics of an evaluation.

    Intervals are Wilson's score intervals at 95 %. The calibration error is the expected calibration error of
    Guo et al. 2017, "On Calibration of Modern Neural Networks", over equal-width bins of the confidence.
    """
    correct, labels = evaluation.correct, evaluation.labels
    by_class = {name: correct[labels == i] for i, name in enumerate(evaluation.classes) if (labels == i).any()}
    of_true_class = evaluation.probabilities[np.arange(len(labels)), labels]
    bins = calibration(evaluation)
    return Metrics(
        pictures=len(labels),
        accuracy=float(correct.mean()),
        accuracy_ci95=wilson(correct),
        recall={name: float(hits.mean()) for name, hits in by_class.items()},
        recall_ci95={name: wilson(hits) for name, hits in by_class.items()},
        log_loss=float(-np.log(of_true_class.clip(1e-7, 1)).mean()),
        expected_calibration_error=calibration_error(bins),
        calibration=bins,
        worst_mistakes=_worst_mistakes(evaluation),
        uncertain=None if evaluation.uncertain is None else float(evaluation.uncertain.mean()),
    )


def wilson(correct: NDArray[np.bool_]) -> tuple[float, float]:
    """Compute Wilson's score interval of a share at 95 %."""
    interval = binomtest(int(correct.sum()), len(correct)).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def calibration(evaluation: Evaluation) -> list[CalibrationBin]:
    """Compute confidence and accuracy in equal-width bins of the confidence; empty bins are omitted."""
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


def calibration_error(bins: list[CalibrationBin]) -> float:
    """Average the distance between confidence and accuracy, weighted by the images in each bin."""
    return sum(abs(b.confidence - b.accuracy) * b.pictures for b in bins) / sum(b.pictures for b in bins)


def _worst_mistakes(evaluation: Evaluation) -> list[Mistake]:
    """Describe the most confident mistakes, with the unusual traits of their images."""
    limits = {name: np.quantile(values, [UNUSUAL, 1 - UNUSUAL]) for name, values in evaluation.statistics.items()}
    mistakes = []
    for i in evaluation.mistakes[:WORST_MISTAKES]:
        path = evaluation.images[i].path
        traits = []
        for name, (low, high) in limits.items():
            value = evaluation.statistics[name][i]
            traits += [] if low <= value <= high else [TRAITS[name][int(value > high)]]
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


def summary(values: Metrics) -> str:
    """Format the metrics as a small table."""
    low, high = values.accuracy_ci95
    rows = [
        ("images", f"{values.pictures:,}"),
        ("accuracy", f"{values.accuracy:.2%}  (95 % interval {low:.2%} to {high:.2%})"),
        *((f"recall of {name}", f"{recall:.2%}") for name, recall in values.recall.items()),
        ("log loss", f"{values.log_loss:.4f}"),
        ("calibration error", f"{values.expected_calibration_error:.2%}"),
    ]
    return "\n".join(f"  {name:<20} {value}" for name, value in rows)

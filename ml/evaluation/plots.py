"""Plot a training run: learning curves, confusion matrix, ROC, calibration and worst mistakes."""

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay

from bundle.preprocess import decode
from ml.evaluation.evaluation import Evaluation
from ml.evaluation.metrics import CALIBRATION_BINS, calibration, calibration_error
from ml.training.trainer import TrainingResult

# scikit-learn's displays import pyplot, which would open a display.
mpl.use("Agg")
# A dollar sign in a file or class name must not start a formula.
mpl.rcParams["text.parse_math"] = False

WORST = 24
THUMBNAIL = 224
# Above these numbers of classes, numbers and names no longer fit.
MAX_NUMBERED = 30
MAX_CURVES = 12
MAX_SIDE = 20.0  # inches


def save_all(result: TrainingResult, evaluation: Evaluation, folder: Path) -> list[Path]:
    """Save every plot of a run as a PNG in a folder, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "loss_curve": loss_curve(result),
        "confusion_matrix": confusion(evaluation),
        "roc": roc(evaluation),
        "reliability": reliability(evaluation),
        "worst_mistakes": worst_mistakes(evaluation),
    }
    paths = []
    with warnings.catch_warnings():
        # Characters that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", "Glyph")
        for name, figure in figures.items():
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1], dpi=110)
    return paths


def loss_curve(result: TrainingResult) -> Figure:
    """Plot the head's loss by epoch, and the loss and accuracy of fine-tuning, for training and validation."""
    panels: list[tuple[str, str, list[float], list[float]]] = []
    if result.head:
        panels.append(("head alone", "loss (nats)", result.head.train_losses, result.head.validation_losses))
    for kind, unit in (("loss", "loss (nats)"), ("accuracy", "accuracy")) if result.history else ():
        of_training, of_validation = (
            [getattr(epoch, f"{part}_{kind}") for epoch in result.history] for part in ("train", "validation")
        )
        panels.append(("whole network", unit, of_training, of_validation))
    figure = Figure(figsize=(5 * len(panels), 4), layout="constrained")
    for axes, (title, unit, of_training, of_validation) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        epochs = range(1, len(of_training) + 1)
        axes.plot(epochs, of_training, marker=".", label="train")
        axes.plot(epochs, of_validation, marker=".", label="validation")
        axes.set(title=title, xlabel="epoch", ylabel=unit)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
        if unit != "accuracy":
            axes.set_ylim(bottom=0)
    if result.history:
        figure.suptitle("The whole network trains on augmented images with smoothed labels; validation does not")
    return figure


def confusion(evaluation: Evaluation) -> Figure:
    """Plot the confusion matrix."""
    side = min(3.5 + 0.5 * len(evaluation.classes), MAX_SIDE)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    ConfusionMatrixDisplay.from_predictions(
        evaluation.labels,
        evaluation.predictions,
        labels=range(len(evaluation.classes)),
        display_labels=evaluation.classes,
        include_values=len(evaluation.classes) <= MAX_NUMBERED,
        xticks_rotation=90 if len(evaluation.classes) > 3 else 0,
        cmap="Blues",
        colorbar=False,
        ax=axes,
    )
    axes.set_title(f"{evaluation.correct.mean():.2%} of {len(evaluation.labels):,} images correct")
    return figure


def roc(evaluation: Evaluation) -> Figure:
    """Plot the ROC curve of each class against the others; of two classes, only the second."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    shown = range(len(evaluation.classes)) if len(evaluation.classes) > 2 else (1,)
    for i in shown:
        truth = evaluation.labels == i
        if truth.any() and not truth.all():
            name = evaluation.classes[i]
            RocCurveDisplay.from_predictions(truth, evaluation.probabilities[:, i], name=name, ax=axes)
    axes.plot([0, 1], [0, 1], "--", color="grey", linewidth=1)
    of = f" of {evaluation.classes[1]}" if len(evaluation.classes) == 2 else ", each class against the others"
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title=f"ROC{of}")
    axes.grid(alpha=0.3)
    if len(shown) > MAX_CURVES and (legend := axes.get_legend()):
        legend.remove()
    return figure


def reliability(evaluation: Evaluation) -> Figure:
    """Plot accuracy against confidence, with the number of images in each bin."""
    figure = Figure(figsize=(5, 5.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    bins = calibration(evaluation)
    upper.plot([0, 1], [0, 1], "--", color="grey", linewidth=1, label="perfectly calibrated")
    upper.plot([b.confidence for b in bins], [b.accuracy for b in bins], "o-", label="this model")
    upper.set(ylabel="accuracy", ylim=(-0.03, 1.03))
    upper.set_title(f"Expected calibration error {calibration_error(bins):.2%}")
    upper.grid(alpha=0.3)
    upper.legend()
    lower.hist(evaluation.confidences, CALIBRATION_BINS, range=(0, 1))
    lower.set(xlabel="confidence", ylabel="images", xlim=(1 / len(evaluation.classes) - 0.03, 1.02), yscale="log")
    lower.yaxis.set_major_formatter("{x:g}")
    return figure


def worst_mistakes(evaluation: Evaluation) -> Figure:
    """Show the images of the most confident mistakes."""
    worst, titles = evaluation.mistakes[:WORST], []
    for i in worst:
        answer, truth = evaluation.classes[evaluation.predictions[i]], evaluation.classes[evaluation.labels[i]]
        titles.append(f"{answer} {evaluation.confidences[i]:.1%}, is {truth}")
    figure = image_grid([evaluation.images[i].path for i in worst], titles, columns=6)
    total = len(evaluation.mistakes)
    figure.suptitle(f"The most confident of {total} mistakes" if total else "No mistakes")
    return figure


def image_grid(paths: Sequence[Path], titles: Sequence[str], columns: int) -> Figure:
    """Show images in rows, each with its title and file name."""
    columns = min(columns, max(1, len(paths)))
    rows = max(1, -(-len(paths) // columns))
    figure = Figure(figsize=(max(4, 2 * columns), 2.4 * rows + 0.5), layout="constrained")
    cells = np.ravel(figure.subplots(rows, columns))
    for axes in cells:
        axes.axis("off")
    for axes, path, title in zip(cells, paths, titles, strict=False):
        # Decoded as in the service, which applies the EXIF orientation.
        axes.imshow(decode(path.read_bytes(), THUMBNAIL, "stretch"))
        axes.set_title("\n".join([title, *textwrap.wrap(path.name, 28)[:1]]), fontsize=8)
    return figure

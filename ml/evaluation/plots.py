"""The pictures of a training run: curves, confusion, calibration and the worst mistakes."""

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay, confusion_matrix

from bundle.preprocess import decode
from ml.evaluation.metrics import CALIBRATION_BINS, Evaluation, calibration_error
from ml.training.epoch import Epoch

# scikit-learn's displays import pyplot, which would look for a screen.
mpl.use("Agg")
# File and class names are names: a dollar sign in one starts no formula.
mpl.rcParams["text.parse_math"] = False

WORST = 24
THUMBNAIL = 224
# Above these, names and numbers no longer fit.
MOST_NUMBERED = 30
MOST_CURVES = 12
LARGEST_SIDE = 20.0


def save_all(history: Sequence[Epoch], evaluation: Evaluation, folder: Path) -> list[Path]:
    """Draw every plot of a run as a PNG.

    Args:
        history: The epochs.
        evaluation: Of the held-out pictures.
        folder: Where to; made if missing.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "loss_curve": loss_curve(history),
        "confusion_matrix": confusion(evaluation),
        "roc": roc(evaluation),
        "reliability": reliability(evaluation),
        "worst_mistakes": worst_mistakes(evaluation),
    }
    paths = []
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; nothing is lost that a warning could save.
        warnings.filterwarnings("ignore", "Glyph")
        for name, figure in figures.items():
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1], dpi=110)
    return paths


def loss_curve(history: Sequence[Epoch]) -> Figure:
    """Loss and accuracy by epoch, training and validation."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [e.epoch for e in history]
    for axes, kind in ((left, "loss"), (right, "accuracy")):
        for part in ("train", "validation"):
            axes.plot(epochs, [getattr(e, f"{part}_{kind}") for e in history], marker=".", label=part)
        axes.set(xlabel="epoch", ylabel="loss (nats)" if kind == "loss" else kind)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    left.set_ylim(bottom=0)
    figure.suptitle("Training pictures are augmented and their labels smoothed; validation pictures are not")
    return figure


def confusion(evaluation: Evaluation) -> Figure:
    """Counts of true against predicted classes."""
    side = min(3.5 + 0.5 * len(evaluation.classes), LARGEST_SIDE)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    indices = range(len(evaluation.classes))
    counts = confusion_matrix(evaluation.labels, evaluation.predictions, labels=list(indices))
    display = ConfusionMatrixDisplay(counts, display_labels=evaluation.classes)
    many = len(evaluation.classes) > 3
    numbered = len(evaluation.classes) <= MOST_NUMBERED
    display.plot(ax=axes, cmap="Blues", colorbar=False, xticks_rotation=90 if many else 0, include_values=numbered)
    axes.set_title(f"{evaluation.correct.mean():.2%} of {len(evaluation.labels):,} pictures right")
    return figure


def roc(evaluation: Evaluation) -> Figure:
    """Receiver operating characteristic of each class against the others; of two classes, the second."""
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
    if len(shown) > MOST_CURVES and (legend := axes.get_legend()):
        legend.remove()
    return figure


def reliability(evaluation: Evaluation) -> Figure:
    """Accuracy against confidence, with how many pictures stand behind each bin."""
    figure = Figure(figsize=(5, 5.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    confidences = evaluation.confidences
    bins = np.minimum((confidences * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    used = np.unique(bins)
    accuracy = [evaluation.correct[bins == b].mean() for b in used]
    mean_confidence = [confidences[bins == b].mean() for b in used]
    upper.plot([0, 1], [0, 1], "--", color="grey", linewidth=1, label="perfectly calibrated")
    upper.plot(mean_confidence, accuracy, "o-", label="this model")
    upper.set(ylabel="accuracy", ylim=(-0.03, 1.03))
    upper.set_title(f"Expected calibration error {calibration_error(evaluation):.2%}")
    upper.grid(alpha=0.3)
    upper.legend()
    lower.hist(confidences, edges)
    lower.set(xlabel="confidence", ylabel="pictures", xlim=(1 / len(evaluation.classes) - 0.03, 1.02), yscale="log")
    lower.yaxis.set_major_formatter("{x:g}")
    return figure


def worst_mistakes(evaluation: Evaluation) -> Figure:
    """The wrong answers with the highest confidence, as pictures."""
    wrong = np.flatnonzero(~evaluation.correct)
    worst = wrong[np.argsort(-evaluation.confidences[wrong])][:WORST]
    columns = min(6, max(1, len(worst)))
    rows = max(1, -(-len(worst) // columns))
    figure = Figure(figsize=(max(4, 2 * columns), 2.4 * rows + 0.5), layout="constrained")
    figure.suptitle(f"The most confident of {len(wrong)} mistakes" if len(worst) else "No mistakes")
    for axes in np.ravel(figure.subplots(rows, columns)):
        axes.axis("off")
    for axes, i in zip(figure.axes, worst, strict=False):
        picture = evaluation.images[i]
        # As the service sees it: turned the right way up, and small however large the file is.
        axes.imshow(decode(picture.path.read_bytes(), THUMBNAIL, "stretch"))
        answer, truth = evaluation.classes[evaluation.predictions[i]], evaluation.classes[evaluation.labels[i]]
        title = f"{answer} {evaluation.confidences[i]:.1%}, is {truth}"
        axes.set_title("\n".join([title, *textwrap.wrap(picture.path.name, 28)[:1]]), fontsize=8)
    return figure

"""Plot the signals of images against a bundle's reference."""

from pathlib import Path

from matplotlib.figure import Figure

from bundle.signals import POSITIONS
from ml.drift.rules import Comparison, Window

COLUMNS = 3


def save(comparison: Comparison, window: Window, file: Path) -> None:
    """Save a plot of the cumulative shares of every signal; the kind of file follows its suffix."""
    rows = -(-len(window.cumulative) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 3.5 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    places = (0.0, *POSITIONS)
    for axes, (signal, shares) in zip(panels, window.cumulative.items(), strict=False):
        axes.step(places, [0, *comparison.cumulative[signal]], where="post", color="grey", label="reference")
        axes.step(places, [0, *shares], where="post", label="these images")
        axes.set(title=signal.replace("_", " "), xlim=(0, 1), ylim=(0, 1))
        axes.grid(alpha=0.3)
    for axes in panels[len(window.cumulative) :]:
        axes.axis("off")
    panels[0].legend()
    figure.supxlabel("share of the reference images up to a value")
    figure.supylabel("share of the images up to that value")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)

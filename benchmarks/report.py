"""Markdown tables and plots of all benchmarks."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

import matplotlib as mpl
from matplotlib.figure import Figure

BLUE, GREY, RED = "#2563eb", "#94a3b8", "#dc2626"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a Markdown table."""
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (columns, ["---"] * len(columns), *rows))


def spread(values: Iterable[float], digits: int = 0) -> str:
    """Format the median; the minimum and the maximum follow in brackets if there are several values."""
    values = sorted(values)
    middle = f"{median(values):,.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({values[0]:,.{digits}f} – {values[-1]:,.{digits}f})"


def save(figure: Figure, file: Path) -> None:
    """Write a plot as SVG; the same plot gives the same bytes."""
    with mpl.rc_context({"svg.hashsalt": file.stem, "svg.fonttype": "path"}):
        figure.savefig(file, metadata={"Date": None})

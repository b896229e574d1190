"""Report a scan: counts by split and class, near-duplicates, and the files left out."""

import csv
import shlex
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from ml.data.dataset import DataError, Dataset, Problem
from ml.data.layout.listing import joined
from ml.data.split import SPLITS

# Lines on the screen for each reason; the CSV report has all.
SHOWN_PROBLEMS = 10
MAX_COLUMNS = 8  # of classes
SHOWN_CLASSES = 20


def describe(dataset: Dataset, full_list: str) -> str:
    """Lay a data set out as tables: its counts, and the files left out.

    Args:
        dataset: The scanned data set.
        full_list: Tells where all files left out are listed.
    """
    parts = [
        f"{dataset.name}: {len(dataset.images):,} images, {len(dataset.problems):,} files left out",
        "\n".join([f"layout: {printable(dataset.layout)}", _splits(dataset), *map(printable, dataset.notes)]),
        _counts(dataset),
    ]
    if groups := dataset.near_duplicates:
        parts.append(f"near-duplicates: {sum(groups):,} images in {len(groups):,} groups, each group in one split")
    if dataset.crowded:
        parts.append(
            f"{dataset.crowded:,} images resemble many others (the same camera or background?): they are split one by "
            "one, so test images may look like training images"
        )
    if dataset.problems:
        parts.append(_table([["left out", "file", "why"], *_problem_rows(dataset, full_list)], right=False))
    return "\n\n".join([*parts, f"fingerprint {dataset.fingerprint}"])


def write(path: Path, problems: Sequence[Problem]) -> None:
    """Write the files left out, with reasons, as CSV.

    Raises:
        DataError: The file cannot be written.
    """
    try:
        # A file name may not be valid text.
        with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "reason", "detail"])
            writer.writerows([problem.path, problem.reason, problem.detail] for problem in problems)
    except OSError as error:
        raise DataError(f"The report {path} cannot be written ({error.strerror}).") from error


def _splits(dataset: Dataset) -> str:
    made = [split for split in SPLITS if split not in dataset.given_splits]
    if not dataset.given_splits:
        return "splits: made by content, near-duplicates together"
    rest = f", {joined(made)} made from train" if made else ""
    return f"splits: {joined(dataset.given_splits)} as given{rest}"


def _counts(dataset: Dataset) -> str:
    """Lay out the number of images, with a column for each class; many classes are rows, the smallest first."""
    counts = dataset.counts()
    counts["all"] = {name: sum(split[name] for split in counts.values()) for name in dataset.classes}
    totals = {split: sum(row.values()) for split, row in counts.items()}
    if len(dataset.classes) <= MAX_COLUMNS:
        rows = [[split, *map(_thousands, row.values()), _thousands(totals[split])] for split, row in counts.items()]
        return _table([["", *dataset.classes, "all"], *rows])
    smallest = sorted(dataset.classes, key=counts["all"].__getitem__)[:SHOWN_CLASSES]
    rows = [[name, *(_thousands(counts[split][name]) for split in counts)] for name in smallest]
    if more := len(dataset.classes) - len(smallest):
        rows.append([f"and {more:,} more classes", *("" for _ in counts)])
    return _table([["", *counts], *rows, ["all", *map(_thousands, totals.values())]])


def _problem_rows(dataset: Dataset, full_list: str) -> list[list[str]]:
    rows = []
    for reason, group in groupby(sorted(dataset.problems, key=lambda p: p.reason), key=lambda p: p.reason):
        problems = list(group)
        rows += [[reason, str(problem.path), problem.detail] for problem in problems[:SHOWN_PROBLEMS]]
        if len(problems) > SHOWN_PROBLEMS:
            rows.append([reason, f"and {len(problems) - SHOWN_PROBLEMS:,} more", full_list])
    return rows


_thousands = "{:,}".format


def _table(rows: Sequence[Sequence[str]], right: bool = True) -> str:
    """Align columns; numbers go to the right."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    sides = ["<", *[">" if right else "<"] * (len(widths) - 1)]
    lines = ["  ".join(f"{c:{s}{w}}" for c, s, w in zip(row, sides, widths, strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)


def printable(text: str) -> str:
    """Replace characters that would upset a terminal: file names may hold line breaks and escapes."""
    return "".join(character if character.isprintable() else "?" for character in text)


def command(module: str, *arguments: object) -> str:
    """Format a command of this project for a shell in this folder, with the Python that runs now."""
    python = Path(sys.executable)
    here = python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python
    return shlex.join([str(here), "-m", module, *map(str, arguments)])

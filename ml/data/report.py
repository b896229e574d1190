"""What a scan found, for people: counts by split and class, and every file that was left out."""

import csv
import shlex
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from ml.data.dataset import DataError, Dataset, Problem

# Lines on the screen for each reason; the written report has them all.
SHOWN_PROBLEMS = 10


def describe(dataset: Dataset, all_of_them: str) -> str:
    """Lay a data set out as tables: its counts, and the files that were left out, by name.

    Args:
        dataset: What was scanned.
        all_of_them: Says where the files are listed that do not fit on the screen.
    """
    counts = dataset.counts()
    counts["all"] = {name: sum(split[name] for split in counts.values()) for name in dataset.classes}
    rows = [[split, *map(_thousands, row.values()), _thousands(sum(row.values()))] for split, row in counts.items()]
    parts = [
        f"{dataset.name}: {len(dataset.images):,} pictures, {len(dataset.problems):,} files left out",
        _table([["", *dataset.classes, "all"], *rows]),
    ]
    if dataset.problems:
        parts.append(_table([["left out", "file", "why"], *_problem_rows(dataset, all_of_them)], right=False))
    return "\n\n".join([*parts, f"fingerprint {dataset.fingerprint}"])


def write(path: Path, problems: Sequence[Problem]) -> None:
    """Write every file that was left out, and why, as CSV.

    Raises:
        DataError: The file cannot be written.
    """
    try:
        # A file name need not be text; the report is.
        with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "reason", "detail"])
            writer.writerows([problem.path, problem.reason, problem.detail] for problem in problems)
    except OSError as error:
        raise DataError(f"The report {path} cannot be written ({error.strerror}).") from error


def _problem_rows(dataset: Dataset, all_of_them: str) -> list[list[str]]:
    rows = []
    for reason, group in groupby(sorted(dataset.problems, key=lambda p: p.reason), key=lambda p: p.reason):
        problems = list(group)
        rows += [[reason, str(problem.path), problem.detail] for problem in problems[:SHOWN_PROBLEMS]]
        if len(problems) > SHOWN_PROBLEMS:
            rows.append([reason, f"and {len(problems) - SHOWN_PROBLEMS:,} more", all_of_them])
    return rows


_thousands = "{:,}".format


def _table(rows: Sequence[Sequence[str]], right: bool = True) -> str:
    """Columns side by side, numbers to the right."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(row: list[str]) -> str:
        first, *rest = (
            cell.rjust(width) if right and column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join([first, *rest]).rstrip()

    return "\n".join(map(line, cells))


def printable(text: str) -> str:
    """Give text without what would upset a terminal: file names may hold line breaks and escapes."""
    return "".join(character if character.isprintable() else "?" for character in text)


def command(module: str, *arguments: object) -> str:
    """Give a command of this project as it can be typed here, with the very Python that runs now."""
    python = Path(sys.executable)
    here = python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python
    return shlex.join([str(here), "-m", module, *map(str, arguments)])

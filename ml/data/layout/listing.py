"""The labelled files of a data set, before any is opened."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ml.data.split import Split


@dataclass(frozen=True)
class ListedFile:
    """One file with its class.

    Attributes:
        names: Paths relative to the folders of the data set, with forward slashes, for reports and exclusion lists. The
            first is unique.
        split: None if the data set does not state it.
    """

    path: Path
    names: tuple[str, ...]
    class_name: str
    split: Split | None = None


@dataclass(frozen=True)
class Listing:
    """All labelled files.

    Attributes:
        folder: Holds the ``dataset.json``, if there is one, and gives the data set its name.
        layout: Describes in a few words where classes and splits come from.
        classes: Sorted.
        files: In a stable order.
        unreadable: Folders that cannot be read, with the reason.
        given: Splits that the data set states.
        notes: One sentence for everything that was ignored.
    """

    folder: Path
    layout: str
    classes: tuple[str, ...]
    files: tuple[ListedFile, ...]
    unreadable: tuple[tuple[Path, str], ...] = ()
    given: tuple[Split, ...] = ()
    notes: tuple[str, ...] = ()


def quoted(names: Iterable[str], shown: int = 5) -> str:
    """Join names for a message, and count the names after the first few."""
    names = list(names)
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def joined(names: Iterable[str]) -> str:
    """Join names with commas and "and"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last

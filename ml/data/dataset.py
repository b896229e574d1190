"""The checked data set: its pictures, how they are split, and what was left out."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from ml.errors import UserError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

# Shares of all pictures, up to the chance of the hash; training gets the rest.
TEST_SHARE = 0.1
VALIDATION_SHARE = 0.1

Reason = Literal[
    "unreadable", "empty", "not a picture", "truncated or damaged", "duplicate", "label conflict", "excluded"
]


class DataError(UserError):
    """The data cannot be had or used; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class LabelledImage:
    """One picture that decodes."""

    path: Path
    label: int
    sha256: str
    split: Split


@dataclass(frozen=True)
class Problem:
    """One file that was left out."""

    path: Path
    reason: Reason
    detail: str


@dataclass(frozen=True)
class Dataset:
    """Pictures by class, each in one split, and the files that were left out.

    Attributes:
        name: From ``dataset.json``, else the folder's name.
        source: Address of the archive, if it was downloaded.
        synthetic: Drawn by this project, not photographed.
        classes: Lower-case names, sorted; a picture's label is an index into them.
        pictures: Sorted by label and path.
        problems: Sorted by path.
        fingerprint: SHA-256 over the sorted content hashes and class names of the pictures.
        lists: Texts of the lists of pictures that were kept out, by file name.
    """

    name: str
    source: str | None
    synthetic: bool
    classes: tuple[str, ...]
    images: tuple[LabelledImage, ...]
    problems: tuple[Problem, ...]
    fingerprint: str
    lists: dict[str, str] = field(default_factory=dict)

    def split(self, name: Split) -> tuple[LabelledImage, ...]:
        """The pictures of one split, in the data set's order."""
        return tuple(picture for picture in self.images if picture.split == name)

    def counts(self) -> dict[str, dict[str, int]]:
        """Pictures by split and class, zeros included."""
        found = Counter((picture.split, picture.label) for picture in self.images)
        return {split: {name: found[split, label] for label, name in enumerate(self.classes)} for split in SPLITS}

    def left_out(self) -> dict[str, int]:
        """Files left out, by reason."""
        return dict(sorted(Counter(problem.reason for problem in self.problems).items()))

    def require_pictures(self) -> None:
        """Check that every class has a picture in every split.

        Raises:
            DataError: One has none, so nothing could be trained or measured on it.
        """
        for split, counts in self.counts().items():
            for name, count in counts.items():
                if not count:
                    have = sum(self.classes[picture.label] == name for picture in self.images)
                    raise DataError(
                        f"Class {name!r} has too few pictures ({have} that can be used, none of them in the {split} "
                        "split): add more; a few dozen in each class are the least."
                    )


def split_of(sha256: str) -> Split:
    """The split of a picture, decided by its content alone, so that it is the same on every machine.

    Args:
        sha256: Hash of the file's bytes, in hexadecimal.
    """
    share = int(sha256[:16], 16) / 2**64
    if share < TEST_SHARE:
        return "test"
    return "validation" if share < TEST_SHARE + VALIDATION_SHARE else "train"


def fingerprint(pictures: tuple[LabelledImage, ...], classes: tuple[str, ...]) -> str:
    """SHA-256 of the set's content: the same pictures in the same classes, whatever the files are called."""
    pairs = sorted((picture.sha256, classes[picture.label]) for picture in pictures)
    return hashlib.sha256("".join(f"{sha256} {name}\n" for sha256, name in pairs).encode()).hexdigest()

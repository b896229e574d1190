"""The checked data set: its images, their splits, and the files left out."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ml.data.split import MIN_GROUPS, SPLITS, Split
from ml.errors import UserError

Reason = Literal[
    "unreadable", "empty", "not an image", "truncated or damaged", "duplicate", "label conflict", "excluded"
]


class DataError(UserError):
    """The data cannot be read, written or used."""


@dataclass(frozen=True)
class LabelledImage:
    """One image that decodes.

    Attributes:
        group: Smallest hash among its near-duplicates and itself. Resample and cross-validate by group, not by image.
    """

    path: Path
    label: int
    sha256: str
    split: Split
    group: str = ""


@dataclass(frozen=True)
class Problem:
    """One file left out of the data set."""

    path: Path
    reason: Reason
    detail: str


@dataclass(frozen=True)
class Dataset:
    """Images by class, each in one split, and the files left out.

    Attributes:
        name: From ``dataset.json``, else the folder's name.
        source: Address of the archive, if it was downloaded.
        synthetic: Drawn by this project, not photographed.
        classes: Lower-case names, sorted; an image's label is an index into them.
        images: Sorted by label and path.
        problems: Sorted by path.
        fingerprint: SHA-256 over the sorted content hashes, class names and given splits of the images.
        lists: Texts of the exclusion lists, by file name.
        near_duplicates: Number of images in each group of near-duplicates. A group is in one split.
        crowded: Number of images that resemble too many others to be grouped.
        layout: Describes where classes and splits come from.
        given_splits: Splits that the data set states; the others are made by content.
        notes: One sentence for everything that was ignored.
    """

    name: str
    source: str | None
    synthetic: bool
    classes: tuple[str, ...]
    images: tuple[LabelledImage, ...]
    problems: tuple[Problem, ...]
    fingerprint: str
    lists: dict[str, str] = field(default_factory=dict)
    near_duplicates: tuple[int, ...] = ()
    crowded: int = 0
    layout: str = ""
    given_splits: tuple[Split, ...] = ()
    notes: tuple[str, ...] = ()

    def split(self, *names: Split) -> tuple[LabelledImage, ...]:
        """Return the images of one or several splits, in the data set's order."""
        return tuple(image for image in self.images if image.split in names)

    def counts(self) -> dict[str, dict[str, int]]:
        """Count images by split and class, zeros included."""
        found = Counter((image.split, image.label) for image in self.images)
        return {split: {name: found[split, label] for label, name in enumerate(self.classes)} for split in SPLITS}

    def left_out(self) -> dict[str, int]:
        """Count the files left out, by reason."""
        return dict(sorted(Counter(problem.reason for problem in self.problems).items()))

    def require_images(self) -> None:
        """Check that every class has an image in every split.

        Raises:
            DataError: A class has none in a split, so it cannot be trained or measured.
        """
        counts = self.counts()
        lacking = {name: split for name in self.classes for split in reversed(SPLITS) if not counts[split][name]}
        if not lacking:
            return
        name, split = next(iter(lacking.items()))
        images = [image for image in self.images if self.classes[image.label] == name]
        groups = len({image.group for image in images})
        if split in self.given_splits:
            raise DataError(
                f"Class {name!r} has no usable image in the {split} split, which the data set states: add images that "
                "are no copies of images in the other splits, or merge the splits, so that new ones are made."
            )
        others = f", and so have {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise DataError(
            f"Class {name!r} has too few images ({len(images)} usable, {groups} of them different, none in the {split} "
            f"split){others}: each class needs {MIN_GROUPS} or more that are no copies of each other."
        )


def fingerprint(images: tuple[LabelledImage, ...], classes: tuple[str, ...], given_splits: Sequence[Split] = ()) -> str:
    """Hash the content of a set (SHA-256): file names do not matter, only bytes, classes and given splits."""
    lines = sorted(f"{image.sha256} {classes[image.label]}{_given(image, given_splits)}\n" for image in images)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _given(image: LabelledImage, given_splits: Sequence[Split]) -> str:
    # The splits made by content follow from it.
    return f" {image.split}" if image.split in given_splits and image.split != "train" else ""

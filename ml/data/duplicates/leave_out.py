"""Leave out copies, and group near-duplicates so that no group is in two splits."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ml.data.dataset import Problem
from ml.data.duplicates.similar import SIDE, find_near_duplicates, largest_group
from ml.data.layout.listing import ListedFile
from ml.data.split import HELD_OUT, Split

# Of one image; more that look the same are frames of a camera or the like.
MAX_COPIES_IN_SPLIT = 2


@dataclass(frozen=True)
class CheckedFile:
    """A file that decodes.

    Attributes:
        thumbnail: From ``similar.thumbnail``.
    """

    file: ListedFile
    sha256: str
    thumbnail: NDArray[np.float32] = field(repr=False, compare=False)


def without_excluded(
    checked: Iterable[CheckedFile], excluded: Mapping[ListedFile, str], problems: list[Problem]
) -> list[CheckedFile]:
    """Leave out excluded files and their copies: an excluded image must not come in under another name."""
    contents = {one.sha256: one.file.names[0] for one in checked if one.file in excluded}
    kept = []
    for one in checked:
        if one.sha256 not in contents:
            kept.append(one)
        elif one.file not in excluded:
            problems.append(Problem(one.file.path, "excluded", f"same bytes as {contents[one.sha256]}"))
    return kept


def without_copies(checked: Iterable[CheckedFile], problems: list[Problem]) -> list[CheckedFile]:
    """Keep the first of byte-identical files in the most held-out split, or none if they are in several classes."""
    by_content: dict[str, list[CheckedFile]] = defaultdict(list)
    for one in sorted(checked, key=_held_out_first):
        by_content[one.sha256].append(one)
    kept = []
    for first, *copies in by_content.values():
        name = first.file.names[0]
        if any(copy.file.class_name != first.file.class_name for copy in copies):
            for one in (first, *copies):
                others = ", ".join(other.file.names[0] for other in (first, *copies) if other is not one)
                problems.append(Problem(one.file.path, "label conflict", f"same bytes as {others}"))
        else:
            kept.append(first)
            problems += [Problem(one.file.path, "duplicate", f"same bytes as {name}") for one in copies]
    return kept


def grouped(checked: Sequence[CheckedFile], problems: list[Problem]) -> tuple[list[list[CheckedFile]], int]:
    """Group near-duplicates; if the data set states that they are in several splits, only the most held-out stay.

    Returns:
        The groups, single images included, and the number of images that resemble too many others to be grouped.
    """
    thumbnails = np.array([one.thumbnail for one in checked], np.float32).reshape(-1, SIDE, SIDE, 3)
    sizes = Counter(one.file.class_name for one in checked)
    limits = np.array([largest_group(sizes[one.file.class_name]) for one in checked], np.intp)
    found, crowded = find_near_duplicates(thumbnails, limits)
    in_split = Counter(_class_and_split(one) for one in checked)
    groups = []
    singles = dict(enumerate(checked))
    for indices in found:
        members = sorted((checked[i] for i in indices.tolist()), key=_held_out_first)
        first = members[0].file
        copies = [one for one in members if one.file.split != first.split]
        if _share_a_look(copies, in_split):
            crowded += len(members)
            continue
        groups.append([one for one in members if one.file.split == first.split])
        text = f"looks like {first.names[0]}, which is in the {first.split} split"
        problems += [Problem(one.file.path, "duplicate", text) for one in copies]
        for i in indices.tolist():
            del singles[i]
    return [*groups, *([one] for one in singles.values())], crowded


def _share_a_look(copies: Iterable[CheckedFile], in_split: Counter[tuple[str, Split | None]]) -> bool:
    """Check for a group with most images of a class in a split: leaving them out would empty it."""
    counts = Counter(_class_and_split(one) for one in copies)
    return any(count > MAX_COPIES_IN_SPLIT and 2 * count > in_split[key] for key, count in counts.items())


def _class_and_split(one: CheckedFile) -> tuple[str, Split | None]:
    return one.file.class_name, one.file.split


def _held_out_first(one: CheckedFile) -> tuple[int, str]:
    split = one.file.split
    return HELD_OUT.index(split) if split in HELD_OUT else len(HELD_OUT), one.file.names[0]

"""Leave out copies, and group near-duplicates so that no group is in two splits."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ml.data.dataset import Problem
from ml.data.layout.listing import ListedFile
from ml.data.near_duplicates import SIDE, find_near_duplicates, largest_group
from ml.data.split import HELD_OUT


@dataclass(frozen=True)
class CheckedFile:
    """A file that decodes.

    Attributes:
        thumbnail: From ``near_duplicates.thumbnail``.
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
    groups = []
    for indices in found:
        members = sorted((checked[i] for i in indices), key=_held_out_first)
        first = members[0].file
        groups.append([one for one in members if one.file.split == first.split])
        text = f"looks like {first.names[0]}, which is in the {first.split} split"
        problems += [Problem(one.file.path, "duplicate", text) for one in members if one.file.split != first.split]
    together = {i for indices in found for i in indices.tolist()}
    return [*groups, *([one] for i, one in enumerate(checked) if i not in together)], crowded


def _held_out_first(one: CheckedFile) -> tuple[int, str]:
    split = one.file.split
    return HELD_OUT.index(split) if split in HELD_OUT else len(HELD_OUT), one.file.names[0]

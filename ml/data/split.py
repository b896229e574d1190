"""Assign images to the training, validation and test splits by their content."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
HELD_OUT: tuple[Split, ...] = ("test", "validation")

# Expected shares of all images; training gets the rest.
TEST_SHARE = 0.1
VALIDATION_SHARE = 0.1
# A class of 150 groups reaches its tenth by chance. Larger classes keep the plain split by hash, which never changes.
MAX_MINIMUM = 10
MIN_GROUPS = len(SPLITS)


@dataclass(frozen=True)
class Group:
    """Near-duplicates, or a single image.

    Attributes:
        key: Smallest hash of its images in hexadecimal.
        labels: Classes of its images.
        given: The split, if the data set states it.
    """

    key: str
    labels: frozenset[int]
    given: Split | None = None


def split_of(sha256: str) -> Split:
    """Return the split of an image in a large class. It depends on content alone, so it is the same on every machine.

    Args:
        sha256: Hash of the file's bytes in hexadecimal; for near-duplicates, the smallest hash of the group.
    """
    share = int(sha256[:16], 16) / 2**64
    if share < TEST_SHARE:
        return "test"
    return "validation" if share < TEST_SHARE + VALIDATION_SHARE else "train"


def minimum(split: Split, groups: int) -> int:
    """Return the smallest number of groups that a split gets of a class with so many groups."""
    if split == "train":
        return max(1, groups // 2)
    return max(1, min(MAX_MINIMUM, (groups + 5) // 10))


def assign(groups: Sequence[Group], given: Collection[Split] = ()) -> list[Split]:
    """Assign each group to a split.

    A group goes by its hash, as in ``split_of``. Where a class then has less than the minimum in a split, groups of the
    class are moved there in order of hash, first from the training images. A new image moves few others.

    Args:
        groups: In any order; the result does not depend on it.
        given: Splits that the data set states. Of its groups, only the training images are split further, and only
            into the splits that it lacks.
    """
    made: list[Split] = [split for split in HELD_OUT if split not in given]
    splits: list[Split] = []
    movable: list[int] = []
    for index, group in enumerate(groups):
        by_hash = split_of(group.key)
        if group.given in HELD_OUT:
            splits.append(group.given)
        else:
            splits.append(by_hash if by_hash in made else "train")
            movable.append(index)
    movable.sort(key=lambda index: groups[index].key)
    members: dict[int, list[int]] = {}
    for index in movable:
        for label in groups[index].labels:
            members.setdefault(label, []).append(index)
    counts = Counter((label, splits[index]) for label, of_class in members.items() for index in of_class)
    for label, of_class in sorted(members.items()):
        for wanted in (*made, "train"):
            _fill(wanted, label, of_class, groups, splits, counts)
    return splits


def _fill(
    wanted: Split,
    label: int,
    of_class: list[int],
    groups: Sequence[Group],
    splits: list[Split],
    counts: Counter[tuple[int, Split]],
) -> None:
    """Move groups of a class, sorted by hash, to a split until it has the minimum; no split falls below its own."""

    def can_leave(index: int) -> bool:
        here = splits[index]
        if here == wanted or counts[label, here] <= minimum(here, len(of_class)):
            return False
        # A group may hold images of other classes, which must not lose their last one in a split either.
        return all(counts[other, here] > 1 for other in groups[index].labels)

    while counts[label, wanted] < minimum(wanted, len(of_class)):
        free = [index for index in of_class if can_leave(index)]
        if not free:
            return
        moved = next((index for index in free if splits[index] == "train"), free[0])
        for other in groups[moved].labels:
            counts[other, splits[moved]] -= 1
            counts[other, wanted] += 1
        splits[moved] = wanted

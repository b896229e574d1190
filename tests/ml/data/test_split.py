"""Splits depend on content alone, keep their shares, and give every class images in each."""

import hashlib
from collections import Counter

import pytest

from ml.data.split import SPLITS, Group, Split, assign, minimum, split_of


def hashed(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def singles(count: int, *name: object, label: int = 0) -> list[Group]:
    return [Group(hashed(*name, index), frozenset({label})) for index in range(count)]


def by_key(groups: list[Group], given: tuple[Split, ...] = ()) -> dict[str, Split]:
    return {group.key: split for group, split in zip(groups, assign(groups, given), strict=True)}


def test_split_of_keeps_the_shares_and_never_changes() -> None:
    hashes = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(20_000)]
    shares = {split: sum(split_of(sha256) == split for sha256 in hashes) / len(hashes) for split in SPLITS}
    assert shares == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.01)
    # Written down, not computed: a change would move images between training and test.
    assert [split_of(digit * 64) for digit in "0124f"] == ["test", "test", "validation", "train", "train"]


@pytest.mark.parametrize("count", [3, 4, 5, 8, 10, 15, 40, 120])
def test_assign_gives_every_class_the_minimum_in_each_split(count: int) -> None:
    groups = [group for label in range(200) for group in singles(count, label, label=label)]
    found = Counter(zip((label for group in groups for label in group.labels), assign(groups), strict=True))
    for label in range(200):
        assert all(found[label, split] >= minimum(split, count) for split in SPLITS)


@pytest.mark.parametrize("digit", "01f")
def test_assign_of_hashes_that_fall_into_one_split_still_fills_all(digit: str) -> None:
    groups = [Group(digit + group.key[1:], group.labels) for group in singles(10)]
    assert Counter(assign(groups)).keys() == set(SPLITS)


@pytest.mark.parametrize(
    ("count", "expected"), [(3, 1), (10, 1), (14, 1), (15, 2), (40, 4), (95, 10), (400, 10), (20_000, 10)]
)
def test_minimum_is_a_tenth_at_most_ten(count: int, expected: int) -> None:
    assert minimum("test", count) == minimum("validation", count) == expected


def test_assign_of_a_large_class_is_by_hash_alone() -> None:
    groups = singles(5000)
    assert assign(groups) == [split_of(group.key) for group in groups]


def test_assign_fills_in_order_of_hash() -> None:
    groups = [Group(digit * 64, frozenset({0})) for digit in "456789abcdef"]
    expected = {"4": "test", "5": "validation"}
    assert by_key(groups) == {group.key: expected.get(group.key[0], "train") for group in groups}


def test_assign_does_not_depend_on_the_order() -> None:
    groups = [group for label in range(20) for group in singles(9, label, label=label)]
    groups += [Group(hashed("both", index), frozenset({index, index + 1})) for index in range(0, 18, 3)]
    assert by_key(groups) == by_key(groups[::-1])


@pytest.mark.parametrize("count", [3, 10, 14, 30, 94])
def test_new_image_moves_few_others(count: int) -> None:
    for attempt in range(100):
        groups = singles(count, attempt)
        before, after = by_key(groups), by_key([*groups, *singles(1, "new", attempt)])
        assert sum(after[key] != split for key, split in before.items()) <= 3


def test_groups_of_two_classes_leave_both_with_images_in_each_split() -> None:
    both = [Group(hashed("both", index), frozenset({0, 1})) for index in range(5)]
    groups = [*both, *singles(2, "own", label=0), *singles(40, "other", label=1)]
    found = {(label, split) for group, split in zip(groups, assign(groups), strict=True) for label in group.labels}
    assert found == {(label, split) for label in (0, 1) for split in SPLITS}


def test_given_splits_are_kept_and_the_missing_one_is_made_from_training() -> None:
    groups = [Group(group.key, group.labels, "train") for group in singles(60, "train")]
    groups += [Group(group.key, group.labels, "test") for group in singles(9, "test")]
    found = assign(groups, ("train", "test"))
    assert found[60:] == ["test"] * 9
    assert Counter(found[:60]).keys() == {"train", "validation"}
    assert found[:60].count("validation") >= minimum("validation", 60)
    all_given = ("train", "validation", "test")
    assert assign(groups, all_given) == [group.given for group in groups]

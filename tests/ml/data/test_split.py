"""Splits depend on content alone and keep their shares."""

import hashlib

import pytest

from ml.data.split import SPLITS, split_of


def test_split_of_keeps_the_shares_and_never_changes() -> None:
    hashes = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(20_000)]
    shares = {split: sum(split_of(sha256) == split for sha256 in hashes) / len(hashes) for split in SPLITS}
    assert shares == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.01)
    # Written down, not computed: a change would move images between training and test.
    assert [split_of(digit * 64) for digit in "0124f"] == ["test", "test", "validation", "train", "train"]

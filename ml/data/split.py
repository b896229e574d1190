"""Assign images to the training, validation and test splits by their content."""

from typing import Literal, get_args

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

# Expected shares of all images; training gets the rest.
TEST_SHARE = 0.1
VALIDATION_SHARE = 0.1


def split_of(sha256: str) -> Split:
    """Return the split of an image. It depends on content alone, so it is the same on every machine.

    Args:
        sha256: Hash of the file's bytes in hexadecimal; for near-duplicates, the smallest hash of the group.
    """
    share = int(sha256[:16], 16) / 2**64
    if share < TEST_SHARE:
        return "test"
    return "validation" if share < TEST_SHARE + VALIDATION_SHARE else "train"

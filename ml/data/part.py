"""Parts of a data set: all of its images or those of a split, and the ``--split`` flag."""

import argparse
from pathlib import Path

from ml.data.dataset import DataError, Dataset, LabelledImage
from ml.data.split import HELD_OUT

ALL = "all"


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Add the flag to a parser; the default is all images."""
    text = "part of the images, split as training splits them [%(default)s]"
    parser.add_argument("--split", choices=(ALL, *HELD_OUT, "train"), default=ALL, help=text)


def choose(data: Dataset, part: str, source: Path) -> tuple[LabelledImage, ...]:
    """Return the images of a part of the data set from ``source``.

    Raises:
        DataError: There are none.
    """
    images = tuple(image for image in data.images if part in (ALL, image.split))
    if images:
        return images
    if part == ALL:
        raise DataError(f"{source} has no images that are not left out: `python -m ml.data scan` says why.")
    raise DataError(f"{source} has no images in its {part} split: choose --split all.")

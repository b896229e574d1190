"""Parts of a data set are chosen by the name of a split."""

from dataclasses import replace
from pathlib import Path

import pytest

from ml.data.dataset import DataError, Dataset
from ml.data.part import choose
from ml.data.split import SPLITS

SOURCE = Path("photos")


def test_parts_are_all_images_or_those_of_a_split(colours: Dataset) -> None:
    assert choose(colours, "all", SOURCE) == colours.images
    for split in SPLITS:
        assert choose(colours, split, SOURCE) == colours.split(split) != ()


def test_empty_part_is_refused_with_advice(colours: Dataset) -> None:
    with pytest.raises(DataError, match=r"photos has no images in its test split: choose --split all\."):
        choose(replace(colours, images=colours.split("train")), "test", SOURCE)
    with pytest.raises(DataError, match=r"photos has no images that are not left out: .* says why"):
        choose(replace(colours, images=()), "all", SOURCE)

"""The drawn set: the same for the same seed, of two classes that differ, and made whole or not at all."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.data.dataset import DataError
from ml.data.sample import draw, sample
from ml.data.scan import scan
from tests import servers


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_same_seed_draws_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    sample(tmp_path / "here", pictures=20, seed=3, progress=False)
    command = [
        sys.executable,
        "-m",
        "ml.data",
        "sample",
        "--to",
        str(tmp_path / "there"),
        "--pictures",
        "20",
        "--seed",
        "3",
    ]
    subprocess.run(command, cwd=servers.ROOT, check=True, capture_output=True)
    sample(tmp_path / "other", pictures=20, seed=4, progress=False)
    here, there, other = (contents(tmp_path / name) for name in ("here", "there", "other"))
    assert here == there
    assert len(here) == 21
    assert all(here[name] != other[name] for name in here if name.endswith(".jpg"))


def test_every_picture_is_sound_and_says_it_is_drawn(tmp_path: Path) -> None:
    sample(tmp_path / "set", pictures=200, progress=False)
    dataset = scan(tmp_path / "set", progress=False)
    assert (dataset.name, dataset.synthetic, dataset.source) == ("sample-shapes", True, None)
    assert dataset.classes == ("circle", "square")
    assert dataset.problems == ()
    assert sum(counts["circle"] for counts in dataset.counts().values()) == 100
    sizes = set()
    for picture in dataset.images:
        with Image.open(picture.path) as image:
            sizes.add(image.size)
    assert len(sizes) > 100
    assert all(96 <= side <= 160 for size in sizes for side in size)


def test_colour_tells_the_class_often_but_not_always() -> None:
    def warm(name: str, seed: int) -> bool:
        with Image.open(io.BytesIO(draw(name, np.random.default_rng(seed)))) as image:
            hue, saturation, _ = np.moveaxis(np.asarray(image.convert("HSV")).astype(float), 2, 0)
        shape = hue[saturation > np.percentile(saturation, 90)] / 255
        return float(np.cos(2 * np.pi * (shape - 0.06)).mean()) > 0

    right = [warm("circle", seed) for seed in range(100)] + [not warm("square", seed) for seed in range(100)]
    assert 0.7 < np.mean(right) < 0.97


def test_what_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is there already"):
        sample(tmp_path / "set", pictures=2, progress=False)
    assert contents(tmp_path) == {"set/mine.txt": b"mine"}


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        sample(tmp_path / "file" / "set", pictures=2, progress=False)

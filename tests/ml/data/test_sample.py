"""The drawn set: reproducible, of two classes that differ, and written atomically."""

from pathlib import Path

import pytest
from PIL import Image

from ml.data.__main__ import main
from ml.data.dataset import DataError
from ml.data.sample import sample
from ml.data.scan import scan


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_seed_decides_every_byte(tmp_path: Path) -> None:
    sample(tmp_path / "here", images=20, seed=3, progress=False)
    assert main(["sample", "--to", str(tmp_path / "there"), "--pictures", "20", "--seed", "3"]) == 0
    sample(tmp_path / "other", images=20, seed=4, progress=False)
    here, there, other = (contents(tmp_path / name) for name in ("here", "there", "other"))
    assert here == there
    assert len(here) == 21
    assert all(here[name] != other[name] for name in here if name.endswith(".jpg"))


def test_drawn_set_is_sound_and_synthetic(drawn: Path) -> None:
    dataset = scan(drawn, progress=False)
    assert (dataset.name, dataset.synthetic, dataset.source) == ("sample-shapes", True, None)
    assert dataset.classes == ("circle", "square")
    assert (dataset.problems, dataset.near_duplicates, dataset.crowded) == ((), (), 0)
    assert sum(counts["circle"] for counts in dataset.counts().values()) == 60
    sizes = set()
    for labelled in dataset.images:
        with Image.open(labelled.path) as image:
            sizes.add(image.size)
    assert len(sizes) > 60
    assert all(96 <= side <= 160 for size in sizes for side in size)


@pytest.mark.parametrize(("to", "message"), [("", "is there already"), ("mine.txt/set", "cannot be written")])
def test_sample_leaves_existing_files_alone(tmp_path: Path, to: str, message: str) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match=message):
        sample(tmp_path / to, images=2, progress=False)
    assert contents(tmp_path) == {"mine.txt": b"mine"}

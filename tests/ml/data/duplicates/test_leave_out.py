"""Copies never cross splits, whether splits are given or made."""

import io
from pathlib import Path

import pytest
from PIL import Image

from ml.data import report
from ml.data.dataset import DataError
from ml.data.scan import collect, scan
from ml.data.split import SPLITS
from tests import drawn_images
from tests.ml.data import problems
from tests.ml.data.layout import image


def photo(seed: int) -> bytes:
    drawn = Image.open(io.BytesIO(image(seed))).resize((240, 180), Image.Resampling.BICUBIC)
    return drawn_images.encode(drawn, "JPEG", quality=95)


def variants(data: bytes) -> dict[str, bytes]:
    whole = Image.open(io.BytesIO(data))
    half = whole.resize((whole.width // 2, whole.height // 2), Image.Resampling.LANCZOS)
    return {
        "whole.jpg": data,
        "half.jpg": drawn_images.encode(half, "JPEG"),
        "poor.jpg": drawn_images.encode(whole, "JPEG", quality=40),
        "whole.webp": drawn_images.encode(whole, "WEBP", quality=80),
        "whole.png": drawn_images.encode(whole, "PNG"),
    }


@pytest.fixture
def splits(tmp_path: Path) -> Path:
    for label, name in enumerate(("cat", "dog")):
        for start, split in enumerate(("train", "val", "test")):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(6):
                (tmp_path / split / name / f"{index}.jpg").write_bytes(photo(1000 * label + 100 * start + index))
    return tmp_path


@pytest.mark.parametrize("count", [4, 30])
def test_variants_of_an_image_are_in_one_split(tmp_path: Path, count: int) -> None:
    for seed in range(2 * count):
        for name, data in variants(photo(seed)).items():
            path = tmp_path / ("cat", "dog")[seed % 2] / f"{seed} {name}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
    dataset = scan(tmp_path, progress=False)
    by_image: dict[str, set[str]] = {}
    for found in dataset.images:
        by_image.setdefault(found.path.name.split()[0], set()).add(found.split)
    assert all(len(found) == 1 for found in by_image.values())
    assert dataset.near_duplicates == (5,) * 2 * count and dataset.crowded == 0
    assert {found.split for found in dataset.images} == set(SPLITS)


def test_copies_in_given_splits_stay_where_they_are_most_held_out(splits: Path) -> None:
    test, validation = photo(200), photo(100)
    (splits / "train" / "cat" / "copy of test.jpg").write_bytes(test)
    (splits / "val" / "cat" / "copy of test.jpg").write_bytes(test)
    (splits / "train" / "cat" / "copy of val.jpg").write_bytes(validation)
    for split, name in (("train", "half.jpg"), ("train", "whole.webp"), ("val", "poor.jpg"), ("val", "whole.png")):
        (splits / split / "cat" / f"like test {name}").write_bytes(variants(test)[name])
    dataset = scan(splits, progress=False)
    assert {split: sum(row.values()) for split, row in dataset.counts().items()} == dict.fromkeys(SPLITS, 12)
    found = problems(dataset, splits)
    assert [name for name in found if "copy of" in name] == [
        "train/cat/copy of test.jpg",
        "train/cat/copy of val.jpg",
        "val/cat/copy of test.jpg",
    ]
    assert sum("like test" in name for name in found) == 4
    assert {problem.detail for problem in dataset.problems if "like test" in problem.path.name} == {
        "looks like test/cat/0.jpg, which is in the test split"
    }
    assert dataset.left_out() == {"duplicate": 7}


def test_given_splits_are_kept_and_part_of_the_fingerprint(splits: Path) -> None:
    dataset = scan(splits, progress=False)
    assert dataset.given_splits == SPLITS
    for found in dataset.images:
        assert found.path.parts[-3] == {"validation": "val"}.get(found.split, found.split)
    described = report.describe(dataset, "")
    assert "layout: train, val and test: one folder for each class" in described
    assert "splits: train, validation and test as given\n" in described
    (splits / "val" / "cat" / "0.jpg").rename(splits / "train" / "cat" / "moved.jpg")
    assert collect(splits, progress=False).fingerprint != dataset.fingerprint


def test_missing_split_is_made_from_training_images(splits: Path) -> None:
    for path in (splits / "val").rglob("*.jpg"):
        path.rename(splits / "train" / path.parent.name / f"from val {path.name}")
    for path in (*(splits / "val").iterdir(), splits / "val"):
        path.rmdir()
    dataset = scan(splits, progress=False)
    assert {found.path.parts[-3] for found in dataset.split("validation")} == {"train"}
    assert {found.path.parts[-3] for found in dataset.split("test")} == {"test"}
    assert "splits: train and test as given, validation made from train" in report.describe(dataset, "")


@pytest.mark.parametrize("counts", [(30, 8, 8), (5, 2, 2)])
def test_alike_images_in_given_splits_are_not_left_out(tmp_path: Path, counts: tuple[int, ...]) -> None:
    """A square before noise, in every image of a class."""
    for start, (split, count) in enumerate(zip(("train", "val", "test"), counts, strict=True)):
        for name, colour in (("cat", drawn_images.RED), ("dog", drawn_images.GREEN)):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(count):
                disc = Image.open(io.BytesIO(drawn_images.noise("PNG", (48, 48), seed=100 * start + index)))
                disc = disc.point(lambda value: value // 6)
                disc.paste(colour, (9, 9, 39, 39))
                (tmp_path / split / name / f"{index}.png").write_bytes(drawn_images.encode(disc))
    dataset = scan(tmp_path, progress=False)
    assert (len(dataset.images), dataset.problems) == (2 * sum(counts), ())
    assert f"{2 * sum(counts)} images resemble many others" in report.describe(dataset, "")


def test_test_split_that_is_a_copy_of_training_is_one_sentence(tmp_path: Path) -> None:
    for seed in range(20):
        path = tmp_path / "train" / ("cat", "dog")[seed % 2] / f"{seed}.jpg"
        copy = tmp_path / "test" / path.parent.name / path.name
        for target, data in ((path, photo(seed)), (copy, variants(photo(seed))["poor.jpg"])):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    assert collect(tmp_path, progress=False).left_out() == {"duplicate": 20}
    with pytest.raises(DataError, match="'cat' has no usable image in the train split, which the data set states"):
        scan(tmp_path, progress=False)


def test_alike_images_of_a_small_class_are_refused_in_one_sentence(tmp_path: Path) -> None:
    for name, start in (("cat", 0), ("dog", 100)):
        for seed in range(5):
            path = tmp_path / name / f"{seed}.jpg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(photo(start + seed))
    for name, data in variants(photo(300)).items():
        (tmp_path / "emu").mkdir(exist_ok=True)
        (tmp_path / "emu" / name).write_bytes(data)
    with pytest.raises(DataError, match=r"'emu' has too few images \(5 usable, 1 of them different.* needs 3 or more"):
        scan(tmp_path, progress=False)


def test_many_classes_are_rows_of_the_report(tmp_path: Path) -> None:
    for label in range(25):
        (tmp_path / f"class {label:02}").mkdir()
        for index in range(3 + label % 2):
            (tmp_path / f"class {label:02}" / f"{index}.png").write_bytes(image(10 * label + index))
    described = report.describe(scan(tmp_path, progress=False), "")
    assert "\nclass 00" in described and "\nand 5 more classes" in described and "\nall " in described

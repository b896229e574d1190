"""Scanning: every file is kept or reported, and the same content is split the same way everywhere."""

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.data.dataset import DataError, Dataset
from ml.data.scan import collect, scan
from ml.data.split import SPLITS
from tests import drawn_images
from tests.ml import NOT_TEXT
from tests.ml.data import problems


def found(folder: Path) -> Dataset:
    return collect(folder, progress=False)


def kept(dataset: Dataset, folder: Path) -> list[str]:
    return [image.path.relative_to(folder).as_posix() for image in dataset.images]


@pytest.mark.parametrize("draw", [*drawn_images.ACCEPTED.values(), drawn_images.broken_exif])
def test_scan_keeps_files_the_service_accepts(two_classes: Path, draw: Callable[[], bytes]) -> None:
    (two_classes / "Cat" / "one").write_bytes(draw())
    assert kept(found(two_classes), two_classes) == ["Cat/good.jpg", "Cat/one", "Dog/good.jpg"]


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        *((draw, "not an image") for draw in drawn_images.NOT_PICTURES.values()),
        *((draw, "truncated or damaged") for draw in drawn_images.BROKEN.values()),
    ],
)
def test_scan_reports_files_the_service_refuses(two_classes: Path, draw: Callable[[], bytes], reason: str) -> None:
    bad = two_classes / "Dog" / "bad.jpg"
    bad.write_bytes(draw())
    dataset = found(two_classes)
    assert problems(dataset, two_classes) == {"Dog/bad.jpg": reason}
    assert dataset.left_out() == {reason: 1}
    assert all(problem.detail for problem in dataset.problems)
    assert bad.exists()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("missing", [10, 100, 1000])
def test_jpeg_without_its_end_is_damaged(two_classes: Path, missing: int, progressive: bool) -> None:
    image = drawn_images.corners().resize((900, 700)).effect_spread(40)
    whole = drawn_images.encode(image, "JPEG", progressive=progressive)
    (two_classes / "Cat" / "cut.jpg").write_bytes(whole[:-missing])
    assert problems(found(two_classes), two_classes) == {"Cat/cut.jpg": "truncated or damaged"}


def test_special_files_are_reported_and_not_read(two_classes: Path) -> None:
    (two_classes / "Cat" / "empty.jpg").touch()
    (two_classes / "Cat" / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(two_classes / "Dog" / "pipe.jpg")
    (two_classes / "Dog" / f"{NOT_TEXT}\n.jpg").write_bytes(b"")
    with (two_classes / "Cat" / "film.jpg").open("wb") as film:
        film.truncate(10**12)
    assert problems(found(two_classes), two_classes) == {
        "Cat/empty.jpg": "empty",
        "Cat/gone.jpg": "unreadable",
        "Dog/pipe.jpg": "unreadable",
        f"Dog/{NOT_TEXT}\n.jpg": "empty",
        "Cat/film.jpg": "not an image",
    }


def test_files_of_operating_systems_are_ignored(two_classes: Path) -> None:
    for name in ("Cat/Thumbs.db", "Cat/desktop.ini", "Dog/.DS_Store", "Cat/.checkpoints/1.jpg", "__MACOSX/Cat/1.jpg"):
        (two_classes / name).parent.mkdir(parents=True, exist_ok=True)
        (two_classes / name).write_bytes(b"litter")
    (two_classes / "readme.txt").write_text("about")
    dataset = found(two_classes)
    assert (dataset.classes, dataset.problems) == (("cat", "dog"), ())


def test_first_of_identical_files_is_kept(two_classes: Path) -> None:
    for name in ("b.jpg", "deep/er/a.jpg", "z.jpg"):
        (two_classes / "Cat" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(two_classes / "Cat" / "good.jpg", two_classes / "Cat" / name)
    dataset = found(two_classes)
    assert kept(dataset, two_classes) == ["Cat/b.jpg", "Dog/good.jpg"]
    assert problems(dataset, two_classes) == dict.fromkeys(
        ["Cat/deep/er/a.jpg", "Cat/good.jpg", "Cat/z.jpg"], "duplicate"
    )
    assert {problem.detail for problem in dataset.problems} == {"same bytes as Cat/b.jpg"}


def test_identical_files_in_two_classes_are_left_out(two_classes: Path) -> None:
    for name in ("Cat/same.jpg", "Cat/same2.jpg", "Dog/same.jpg"):
        (two_classes / name).write_bytes(drawn_images.plain())
    dataset = found(two_classes)
    assert kept(dataset, two_classes) == ["Cat/good.jpg", "Dog/good.jpg"]
    assert dataset.left_out() == {"label conflict": 3}
    assert dataset.problems[-1].detail == "same bytes as Cat/same.jpg, Cat/same2.jpg"


def test_linked_folders_are_followed_and_loops_end(two_classes: Path, tmp_path: Path) -> None:
    (two_classes / "Cat" / "loop").symlink_to(two_classes / "Cat", target_is_directory=True)
    (two_classes / "Cat" / "deep").mkdir()
    (two_classes / "Cat" / "deep" / "up").symlink_to("..", target_is_directory=True)
    for link, colour in (("Bird", drawn_images.GREEN), ("Dog/more", drawn_images.BLUE)):
        target = tmp_path / "elsewhere" / link
        target.mkdir(parents=True)
        (target / "1.png").write_bytes(drawn_images.plain(colour, "PNG"))
        (two_classes / link).symlink_to(target, target_is_directory=True)
    dataset = found(two_classes)
    assert dataset.classes == ("bird", "cat", "dog")
    assert kept(dataset, two_classes) == ["Bird/1.png", "Cat/good.jpg", "Dog/good.jpg", "Dog/more/1.png"]
    assert dataset.problems == ()


def test_split_and_fingerprint_ignore_names_and_order(drawn: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "Renamed"
    for index, file in enumerate(sorted(drawn.rglob("*.jpg"), reverse=True)):
        copy = renamed / "inner" / file.parent.name.upper() / f"sub{index % 3}" / f"x{index}.png"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    first, second = scan(drawn, progress=False), scan(renamed, workers=1, progress=False)
    assert {image.sha256: image.split for image in first.images} == {
        image.sha256: image.split for image in second.images
    }
    assert first.fingerprint == second.fingerprint
    assert first.counts() == second.counts()
    assert (first.name, first.synthetic) == ("sample-shapes", True)
    assert (second.name, second.synthetic, second.classes) == ("renamed", False, ("circle", "square"))


def test_counts_hashes_and_fingerprint_follow_the_content(drawn: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(drawn, tmp_path / "changed")
    before = found(changed).fingerprint
    next((changed / "circle").iterdir()).rename(changed / "square" / "moved.jpg")
    dataset = found(changed)
    assert dataset.fingerprint != before
    assert len(dataset.images) == sum(len(dataset.split(split)) for split in SPLITS) == 120
    for split, counts in dataset.counts().items():
        for label, name in enumerate(dataset.classes):
            assert counts[name] == sum(image.label == label for image in dataset.split(split))
    assert all(image.path.parent.name == dataset.classes[image.label] for image in dataset.images)
    assert all(image.sha256 == hashlib.sha256(image.path.read_bytes()).hexdigest() for image in dataset.images)


def test_many_small_classes_have_images_in_every_split(tmp_path: Path) -> None:
    """By hash alone, 95 of 100 such sets would leave a class without validation or test images."""
    random = np.random.default_rng(0)
    for label in range(101):
        folder = tmp_path / f"class {label:03}"
        folder.mkdir()
        for index in range(10):
            pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
            (folder / f"{index}.png").write_bytes(drawn_images.encode(Image.fromarray(pixels)))
    counts = scan(tmp_path, progress=False).counts()
    assert all(counts[split][name] for split in SPLITS for name in counts[split])
    assert sum(counts["train"].values()) > 700


@pytest.mark.parametrize(("images", "fault"), [(2, "2 usable, 2 of them different"), (1, "1 usable, 1 of them")])
def test_class_of_fewer_than_three_images_is_one_sentence(tmp_path: Path, images: int, fault: str) -> None:
    for seed, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for index in range(images if name == "dog" else 5):
            (tmp_path / name / f"{index}.png").write_bytes(drawn_images.noise("PNG", seed=100 * seed + index))
    with pytest.raises(DataError, match=f"Class 'dog' has too few images .{fault}.* needs 3 or more"):
        scan(tmp_path, progress=False)


@pytest.mark.parametrize(
    ("folders", "files", "message"),
    [
        ([], {}, "There is no folder"),
        ([], {"": "PK"}, "is a file"),
        ([], {"1.jpg": ""}, "holds no folders"),
        (["cat"], {}, "holds one class"),
        pytest.param(
            *(["Cat", "cat", "dog"], {}, "would be one class"),
            marks=pytest.mark.skipif(sys.platform != "linux", reason="file system does not tell upper case from lower"),
        ),
        (["cat", "d\x1bog"], {}, "is not text"),
        (["cat", "dog"], {}, "Class 'cat' has too few images"),
        (["cat", "dog"], {"dataset.json": "{"}, "mend"),
        (["cat", "dog"], {"dataset.json": "{}"}, "name"),
    ],
)
def test_wrong_folder_is_one_sentence(tmp_path: Path, folders: list[str], files: dict[str, str], message: str) -> None:
    data = tmp_path / "data"
    for name in folders:
        (data / name).mkdir(parents=True)
    for name, content in files.items():
        (data / name).parent.mkdir(exist_ok=True)
        (data / name).write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        scan(data, progress=False)
    assert "\n" not in str(caught.value)

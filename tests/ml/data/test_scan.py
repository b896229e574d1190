"""Scanning: what is found is kept or named, nothing crashes, and the same content is split the same way everywhere."""

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ml.data.dataset import SPLITS, DataError, Dataset, split_of
from ml.data.scan import collect, scan
from tests import drawn_images as pictures
from tests.ml import NOT_TEXT


def found(folder: Path) -> Dataset:
    return collect(folder, progress=False)


def problems(dataset: Dataset, folder: Path) -> dict[str, str]:
    return {problem.path.relative_to(folder).as_posix(): problem.reason for problem in dataset.problems}


def kept(dataset: Dataset, folder: Path) -> list[str]:
    return [picture.path.relative_to(folder).as_posix() for picture in dataset.images]


@pytest.mark.parametrize("draw", [*pictures.ACCEPTED.values(), pictures.broken_exif])
def test_keeps_what_the_service_accepts(two_classes: Path, draw: Callable[[], bytes]) -> None:
    (two_classes / "Cat" / "one").write_bytes(draw())
    assert kept(found(two_classes), two_classes) == ["Cat/good.jpg", "Cat/one", "Dog/good.jpg"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(kind, "not a picture") for kind in pictures.NOT_PICTURES]
    + [(kind, "truncated or damaged") for kind in pictures.BROKEN],
)
def test_names_what_the_service_refuses(two_classes: Path, kind: str, reason: str) -> None:
    bad = two_classes / "Dog" / "bad.jpg"
    bad.write_bytes((pictures.NOT_PICTURES | pictures.BROKEN)[kind]())
    dataset = found(two_classes)
    assert problems(dataset, two_classes) == {"Dog/bad.jpg": reason}
    assert dataset.left_out() == {reason: 1}
    assert all(problem.detail for problem in dataset.problems)
    assert bad.exists()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("missing", [10, 100, 1000])
def test_sees_a_jpeg_that_lacks_only_its_end(two_classes: Path, missing: int, progressive: bool) -> None:
    whole = pictures.encode(pictures.corners().resize((900, 700)).effect_spread(40), "JPEG", progressive=progressive)
    (two_classes / "Cat" / "cut.jpg").write_bytes(whole[:-missing])
    assert problems(found(two_classes), two_classes) == {"Cat/cut.jpg": "truncated or damaged"}


def test_empty_and_unreadable_files_are_named(two_classes: Path) -> None:
    (two_classes / "Cat" / "empty.jpg").touch()
    (two_classes / "Cat" / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(two_classes / "Dog" / "pipe.jpg")
    (two_classes / "Dog" / f"{NOT_TEXT}\n.jpg").write_bytes(b"")
    assert problems(found(two_classes), two_classes) == {
        "Cat/empty.jpg": "empty",
        "Cat/gone.jpg": "unreadable",
        "Dog/pipe.jpg": "unreadable",
        f"Dog/{NOT_TEXT}\n.jpg": "empty",
    }


def test_a_huge_file_is_not_read(two_classes: Path) -> None:
    with (two_classes / "Cat" / "film.jpg").open("wb") as film:
        film.truncate(10**12)
    assert problems(found(two_classes), two_classes) == {"Cat/film.jpg": "not a picture"}


def test_passes_over_what_systems_leave_behind(two_classes: Path) -> None:
    for litter in ("Cat/Thumbs.db", "Cat/desktop.ini", "Dog/.DS_Store", "Cat/.checkpoints/1.jpg", "__MACOSX/Cat/1.jpg"):
        (two_classes / litter).parent.mkdir(parents=True, exist_ok=True)
        (two_classes / litter).write_bytes(b"litter")
    (two_classes / "readme.txt").write_text("about")
    dataset = found(two_classes)
    assert (dataset.classes, dataset.problems) == (("cat", "dog"), ())


def test_of_copies_the_first_by_name_is_kept(two_classes: Path) -> None:
    content = (two_classes / "Cat" / "good.jpg").read_bytes()
    for name in ("b.jpg", "deep/er/a.jpg", "z.jpg"):
        (two_classes / "Cat" / name).parent.mkdir(parents=True, exist_ok=True)
        (two_classes / "Cat" / name).write_bytes(content)
    dataset = found(two_classes)
    assert kept(dataset, two_classes) == ["Cat/b.jpg", "Dog/good.jpg"]
    assert problems(dataset, two_classes) == dict.fromkeys(
        ["Cat/deep/er/a.jpg", "Cat/good.jpg", "Cat/z.jpg"], "duplicate"
    )
    assert {problem.detail for problem in dataset.problems} == {"same bytes as Cat/b.jpg"}


def test_the_same_picture_in_two_classes_is_in_neither(two_classes: Path) -> None:
    for name in ("Cat/same.jpg", "Cat/same2.jpg", "Dog/same.jpg"):
        (two_classes / name).write_bytes(pictures.plain())
    dataset = found(two_classes)
    assert kept(dataset, two_classes) == ["Cat/good.jpg", "Dog/good.jpg"]
    assert {
        problem.path.name: (problem.reason, problem.detail)
        for problem in dataset.problems
        if "Dog" in str(problem.path)
    } == {"same.jpg": ("label conflict", "same bytes as Cat/same.jpg, Cat/same2.jpg")}
    assert dataset.left_out() == {"label conflict": 3}


def test_loops_of_links_end_and_linked_folders_are_followed(two_classes: Path, tmp_path: Path) -> None:
    (two_classes / "Cat" / "loop").symlink_to(two_classes / "Cat", target_is_directory=True)
    (two_classes / "Cat" / "deep").mkdir()
    (two_classes / "Cat" / "deep" / "up").symlink_to("..", target_is_directory=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "bird.png").write_bytes(pictures.plain(pictures.GREEN, "PNG"))
    (two_classes / "Bird").symlink_to(elsewhere, target_is_directory=True)
    more = tmp_path / "more"
    more.mkdir()
    (more / "dog.png").write_bytes(pictures.plain(pictures.BLUE, "PNG"))
    (two_classes / "Dog" / "more").symlink_to(more, target_is_directory=True)
    dataset = found(two_classes)
    assert dataset.classes == ("bird", "cat", "dog")
    assert kept(dataset, two_classes) == ["Bird/bird.png", "Cat/good.jpg", "Dog/good.jpg", "Dog/more/dog.png"]
    assert dataset.problems == ()


def test_the_split_is_the_content_s_alone(drawn: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "Renamed"
    for index, file in enumerate(sorted(drawn.rglob("*.jpg"), reverse=True)):
        copy = renamed / "inner" / file.parent.name.upper() / f"sub{index % 3}" / f"x{index}.png"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    first, second = scan(drawn, progress=False), scan(renamed, workers=1, progress=False)
    assert {picture.sha256: picture.split for picture in first.images} == {
        picture.sha256: picture.split for picture in second.images
    }
    assert first.fingerprint == second.fingerprint
    assert first.counts() == second.counts()
    assert (first.name, first.synthetic) == ("sample-shapes", True)
    assert (second.name, second.synthetic, second.classes) == ("renamed", False, ("circle", "square"))


def test_the_fingerprint_follows_content_and_class(drawn: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(drawn, tmp_path / "changed")
    before = scan(drawn, progress=False).fingerprint
    file = next((changed / "circle").iterdir())
    moved = file.rename(changed / "square" / "moved.jpg")
    other_class = scan(changed, progress=False).fingerprint
    moved.unlink()
    assert len({before, other_class, scan(changed, progress=False).fingerprint}) == 3


def test_every_picture_is_in_one_split_of_about_the_promised_share() -> None:
    hashes = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(20_000)]
    shares = {split: sum(split_of(sha256) == split for sha256 in hashes) / len(hashes) for split in SPLITS}
    assert shares == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.01)
    # Written down, not computed: a change would move pictures between training and test.
    assert [split_of(digit * 64) for digit in "0124f"] == ["test", "test", "validation", "train", "train"]


def test_splits_and_counts_agree(drawn: Path) -> None:
    dataset = scan(drawn, progress=False)
    assert sum((dataset.split(split) for split in SPLITS), ()) and len(dataset.images) == 120
    for split, counts in dataset.counts().items():
        for label, name in enumerate(dataset.classes):
            assert counts[name] == sum(picture.label == label for picture in dataset.split(split))
    assert all(picture.path.parent.name == dataset.classes[picture.label] for picture in dataset.images)
    assert all(picture.sha256 == hashlib.sha256(picture.path.read_bytes()).hexdigest() for picture in dataset.images)


def _case_twins(folder: Path) -> None:
    for name in ("Cat", "cat", "dog"):
        (folder / name).mkdir()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder.rmdir(), "There is no folder"),
        (lambda folder: (folder.rmdir(), folder.write_bytes(b"PK")), "is a file"),
        (lambda folder: (folder / "1.jpg").touch(), "holds no folders"),
        (lambda folder: (folder / "cat").mkdir(), "holds one class"),
        pytest.param(
            *(_case_twins, "would be one class"),
            marks=pytest.mark.skipif(sys.platform != "linux", reason="file system does not tell upper case from lower"),
        ),
        (lambda folder: [(folder / name).mkdir() for name in ("cat", "d\x1bog")], "is not text"),
        (lambda folder: [(folder / name).mkdir() for name in ("cat", "dog")], "Class 'cat' has too few pictures"),
        (
            lambda folder: [(folder / "dataset.json").write_text("{"), *map(Path.mkdir, [folder / "a", folder / "b"])],
            "mend",
        ),
        (
            lambda folder: [(folder / "dataset.json").write_text("{}"), *map(Path.mkdir, [folder / "a", folder / "b"])],
            "name",
        ),
    ],
)
def test_says_what_is_wrong_with_the_folder(tmp_path: Path, make, message: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    make(folder)
    with pytest.raises(DataError, match=message) as caught:
        scan(folder, progress=False)
    assert "\n" not in str(caught.value)

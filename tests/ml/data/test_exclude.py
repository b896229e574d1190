"""Exclusion lists: matching images stay out, and a list that matches nothing is an error."""

import shutil
from pathlib import Path

import pytest

from ml.data.dataset import DataError, Dataset
from ml.data.scan import collect
from tests.ml.data import problems


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    return tmp_path / "list.txt"


def found(folder: Path, *exclude: Path) -> Dataset:
    return collect(folder, exclude, progress=False)


@pytest.mark.parametrize(
    ("line", "out"),
    [
        ("circle/00000", ["circle/00000.jpg"]),
        ("no/such\ncircle/00002.jpg", ["circle/00002.jpg"]),
        ("CIRCLE/0000[02]  ", ["circle/00000.jpg", "circle/00002.jpg"]),
        ("# odd ones\n\n00001.jpg\n00003", ["square/00001.jpg", "square/00003.jpg"]),
    ],
)
def test_list_excludes_matching_images(drawn: Path, listed: Path, line: str, out: list[str]) -> None:
    listed.write_text(line, encoding="utf-8")
    assert problems(found(drawn, listed), drawn) == dict.fromkeys(out, "excluded")


def test_several_lists_are_named_by_relative_path_or_name(drawn: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    texts = {"models/first.txt": "circle/00000", "second.txt": "# seen\ncircle/0000[02]"}
    Path("models").mkdir()
    for name, text in texts.items():
        Path(name).write_text(text)
    dataset = found(drawn, Path("models/first.txt"), tmp_path / "second.txt")
    assert dataset.lists == texts
    assert {p.path.stem: p.detail for p in dataset.problems} == {
        "00000": "named in models/first.txt",
        "00002": "named in second.txt",
    }


def test_excluded_image_stays_out_under_another_name(two_classes: Path, listed: Path) -> None:
    shutil.copy(two_classes / "Cat" / "good.jpg", two_classes / "Cat" / "a-copy.jpg")
    listed.write_text("Cat/good")
    dataset = found(two_classes, listed)
    assert problems(dataset, two_classes) == {"Cat/good.jpg": "excluded", "Cat/a-copy.jpg": "excluded"}


def test_path_from_the_outer_folder_matches(two_classes: Path, tmp_path: Path, listed: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    two_classes.rename(outer / "PetImages")
    listed.write_text("PetImages/Cat/*")
    assert problems(found(outer, listed), outer) == {"PetImages/Cat/good.jpg": "excluded"}


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (["nothing.txt"], "No file matches"),
        (["missing.txt"], "cannot be read"),
        (["list.txt", "more/list.txt"], r"Two lists are called list\.txt"),
    ],
)
def test_wrong_list_is_an_error(drawn: Path, tmp_path: Path, lists: list[str], message: str) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "nothing.txt").write_text("nothing-like-it")
    for name in ("list.txt", "more/list.txt"):
        (tmp_path / name).write_text("circle/00000")
    with pytest.raises(DataError, match=message):
        found(drawn, *(tmp_path / name for name in lists))

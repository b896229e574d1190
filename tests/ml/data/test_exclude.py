"""Lists of pictures to keep out: what they name stays out, and a list that names nothing is a mistake."""

import shutil
from pathlib import Path

import pytest

from ml.data.dataset import DataError, Dataset
from ml.data.scan import collect, scan


def found(folder: Path, *exclude: Path) -> Dataset:
    return collect(folder, exclude, progress=False)


def problems(dataset: Dataset, folder: Path) -> dict[str, str]:
    return {problem.path.relative_to(folder).as_posix(): problem.reason for problem in dataset.problems}


@pytest.mark.parametrize(
    ("line", "out"),
    [
        ("circle/00000", ["circle/00000.jpg"]),
        ("no/such\ncircle/00002.jpg", ["circle/00002.jpg"]),
        ("CIRCLE/0000[02]  ", ["circle/00000.jpg", "circle/00002.jpg"]),
        ("# odd ones\n\n00001.jpg\n00003", ["square/00001.jpg", "square/00003.jpg"]),
    ],
)
def test_the_list_keeps_pictures_out(drawn: Path, tmp_path: Path, line: str, out: list[str]) -> None:
    (tmp_path / "list.txt").write_text(line, encoding="utf-8")
    assert problems(found(drawn, tmp_path / "list.txt"), drawn) == dict.fromkeys(out, "excluded")


def test_several_lists_each_keep_pictures_out(drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "first.txt").write_text("circle/00000")
    (tmp_path / "second.txt").write_text("# seen\ncircle/0000[02]")
    dataset = found(drawn, tmp_path / "first.txt", tmp_path / "second.txt")
    assert {p.path.stem: p.detail for p in dataset.problems} == {
        "00000": "named in first.txt",
        "00002": "named in second.txt",
    }
    assert dataset.lists == {"first.txt": "circle/00000", "second.txt": "# seen\ncircle/0000[02]"}


def test_a_list_given_by_a_relative_path_keeps_it(drawn: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("models/first.txt").write_text("circle/00000")
    assert found(drawn, Path("models/first.txt")).lists == {"models/first.txt": "circle/00000"}


def test_two_lists_of_one_name_are_refused(drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    lists = [tmp_path / "list.txt", tmp_path / "more" / "list.txt"]
    for path in lists:
        path.write_text("circle/00000")
    with pytest.raises(DataError, match=r"Two lists are called list\.txt: rename one"):
        found(drawn, *lists)


def test_a_picture_kept_out_does_not_come_in_under_another_name(two_classes: Path, tmp_path: Path) -> None:
    shutil.copy(two_classes / "Cat" / "good.jpg", two_classes / "Cat" / "a-copy.jpg")
    (tmp_path / "list.txt").write_text("Cat/good")
    dataset = found(two_classes, tmp_path / "list.txt")
    assert problems(dataset, two_classes) == {"Cat/good.jpg": "excluded", "Cat/a-copy.jpg": "excluded"}


def test_the_list_may_name_paths_from_the_outer_folder(two_classes: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    two_classes.rename(outer / "PetImages")
    (tmp_path / "list.txt").write_text("PetImages/Cat/*")
    assert problems(found(outer, tmp_path / "list.txt"), outer) == {"PetImages/Cat/good.jpg": "excluded"}


@pytest.mark.parametrize(("content", "message"), [("nothing-like-it", "No file matches"), (None, "cannot be read")])
def test_says_what_is_wrong_with_the_list(drawn: Path, tmp_path: Path, content: str | None, message: str) -> None:
    if content:
        (tmp_path / "list.txt").write_text(content)
    with pytest.raises(DataError, match=message):
        scan(drawn, [tmp_path / "list.txt"], progress=False)

"""Folders as people have them: one sentence for everything that is not clear."""

from pathlib import Path

import pytest

from ml.data.dataset import DataError
from ml.data.layout.read import read
from tests.ml.data.layout import counted, make

CLASSES = {"cat/{}.png": 3, "dog/{}.png": 2}
COUNTED = {(None, "cat"): 3, (None, "dog"): 2}


@pytest.mark.parametrize("outer", ["", "pets/", "a/b/c/"])
def test_class_folders_are_found_below_single_folders(tmp_path: Path, outer: str) -> None:
    make(tmp_path, {outer + name: count for name, count in CLASSES.items()})
    listing = read(tmp_path)
    assert counted(listing) == COUNTED
    assert (listing.classes, listing.layout, listing.given) == (("cat", "dog"), "one folder for each class", ())
    assert listing.files[0].names[0] == "cat/0.png"


def test_link_to_a_folder_is_read(tmp_path: Path) -> None:
    make(tmp_path / "pets", CLASSES)
    (tmp_path / "link").symlink_to("pets", target_is_directory=True)
    assert counted(read(tmp_path / "link")) == COUNTED


def test_link_to_the_folder_above_ends(tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "loop").symlink_to(tmp_path / "pets", target_is_directory=True)
    with pytest.raises(DataError, match="holds one class"):
        read(tmp_path / "pets")


@pytest.mark.parametrize("names", ["cat.{}.png dog.{}.png", "sub/Cat_{}.png sub/Dog_{}.png"])
def test_files_named_by_class_are_read(tmp_path: Path, names: str) -> None:
    make(tmp_path, dict(zip(names.split(), (3, 2), strict=True)))
    (tmp_path / "readme.txt").touch()
    listing = read(tmp_path)
    assert counted(listing) == COUNTED
    assert listing.layout.startswith("classes in the file names")


def test_folders_below_a_class_belong_to_it(tmp_path: Path) -> None:
    make(tmp_path, {"cat/old/{}.png": 1, "cat/new/{}.png": 2, "dog/old/{}.png": 1, "dog/new/{}.png": 1})
    listing = read(tmp_path)
    assert counted(listing) == COUNTED
    note = "the folders in the class folders (new, old) are parts of the classes, not classes."
    assert listing.notes == (f"{tmp_path}: {note}",)


def test_images_beside_class_folders_are_ignored_with_a_note(tmp_path: Path) -> None:
    make(tmp_path, {**CLASSES, "{}.png": 4})
    (tmp_path / "readme.txt").touch()
    listing = read(tmp_path)
    assert counted(listing) == COUNTED
    assert listing.notes == (f"{tmp_path}: 4 images beside the class folders are ignored.",)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no folders, and its file names name no classes: put the images of each class into a folder"),
        ({"{}.png": 3}, "holds no folders, and its file names name no classes"),
        ({"IMG_{}.png": 3, "DSC_{}.png": 3}, "its file names name no classes"),
        ({"cat_{}.png": 3}, "its file names name no classes"),
        ({"cat_{}.png": 3, "dog_{}.png": 3, "x.png": 1}, "its file names name no classes"),
        ({"cat/{}.png": 3}, r"holds one class \(cat\)"),
        ({"a/b/c/cat/{}.png": 3}, "holds one class"),
        ({"cat_{}.png": 3, "dog_{}.png": 3, "a/{}.png": 1, "b/{}.png": 1}, "named by class .*, and folders"),
        ({"images/cat_{}.png": 3, "images/dog_{}.png": 3, "masks/{}.png": 1}, "images is no class: give .*/images"),
    ],
)
def test_unclear_folder_is_one_sentence(tmp_path: Path, files: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(make(tmp_path, files))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("files", [{"{}.png": 3}, {"images/{}.png": 3}])
def test_folder_without_labels_is_pointed_to_its_table(tmp_path: Path, files: dict[str, int]) -> None:
    (make(tmp_path, files) / "train.csv").write_text("file,label\n0.png,cat\n")
    with pytest.raises(DataError, match=r"give .*/train\.csv, which lists files and labels"):
        read(tmp_path)


def test_folder_of_archives_is_pointed_to_the_first(tmp_path: Path) -> None:
    (tmp_path / "train.zip").touch()
    with pytest.raises(DataError, match=r"give .*/train\.zip, or unpack it"):
        read(tmp_path)


def test_file_of_another_kind_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "photos.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(DataError, match="no zip archive or CSV"):
        read(tmp_path / "photos.tar.gz")
    with pytest.raises(DataError, match="There is no folder"):
        read(tmp_path / "nope")

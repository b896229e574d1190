"""Tables of files and labels."""

from pathlib import Path

import pytest

from ml.data.dataset import DataError
from ml.data.layout.read import read
from tests.ml.data.layout import counted, make

FILES = ["images/0.png", "images/1.png", "images/2.png", "images/3.png"]
LABELS = ["Cat", "dog", "cat", "dog "]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    make(tmp_path, {"images/{}.png": 4})
    return tmp_path / "labels.csv"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "header", ["file label", "FileName Class", "image_path target", "filepaths labels", "path class_name"]
)
def test_columns_are_recognised(table: Path, header: str, separator: str) -> None:
    rows = [header.split(), *zip(FILES, LABELS, strict=True), []]
    table.write_text("\n".join(separator.join(row) for row in rows), encoding="utf-8-sig")
    listing = read(table)
    assert counted(listing) == {(None, "cat"): 2, (None, "dog"): 2}
    assert [file.path for file in listing.files] == [table.parent / name for name in FILES]
    assert (listing.folder, listing.given) == (table.parent, ())


def test_splits_in_a_column_are_given(table: Path) -> None:
    splits = ["train", "Training", "val", "TEST"]
    rows = [",".join(row) for row in zip(FILES, LABELS, splits, strict=True)]
    table.write_text("\n".join(["file,label,data set", *rows]))
    listing = read(table)
    assert [file.split for file in listing.files] == ["train", "train", "validation", "test"]
    assert listing.given == ("train", "validation", "test")


def test_paths_of_windows_and_absolute_paths_are_found(table: Path) -> None:
    table.write_text(f'id,file,label\n7,images\\0.png,"cat, big"\n8,{table.parent}/images/1.png,dog\n')
    listing = read(table)
    assert all(file.path.exists() for file in listing.files)
    assert listing.classes == ("cat, big", "dog")


@pytest.mark.parametrize("split", ["", "train/"])
def test_metadata_of_hugging_face_is_read(tmp_path: Path, split: str) -> None:
    make(tmp_path, {split + "{}.png": 4})
    rows = [f"{number}.png,{label}" for number, label in enumerate(LABELS)]
    (tmp_path / split / "metadata.csv").write_text("\n".join(["file_name,label", *rows]))
    listing = read(tmp_path)
    assert {label for _, label in counted(listing)} == {"cat", "dog"}
    assert all(file.path.exists() for file in listing.files)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has the columns of an empty file: give it a header line"),
        ("images/0.png,cat\n", r"has the columns images/0\.png, cat: give it a header line with a column 'file'"),
        ("file,label,path\n", "has the columns file and path, which may mean the same"),
        ("file,label\nimages/0.png,\n", "line 2, lacks a file or a label"),
        ("file,label\nimages/0.png,cat\n\nimages/1.png", "line 4, lacks a file or a label"),
        ("file,label,split\nimages/0.png,cat,fold 1\n", "line 2: 'fold 1' is no split"),
        ("file,label,split\nimages/0.png,cat,test\n", "states the splits test, but no training images"),
        ("file,label\n0.png,cat\n1.png,dog\n", r"No file that .* lists exists \(such as .*/0\.png\)"),
        ("file,label\nimages/0.png,cat\n", r"holds one class \(cat\)"),
        ("file,label\n", "lists no files"),
    ],
)
def test_unclear_table_is_one_sentence(table: Path, text: str, message: str) -> None:
    table.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read(table)
    assert "\n" not in str(caught.value)


def test_table_that_is_not_text_is_one_sentence(table: Path) -> None:
    table.write_bytes(b"file,label\n\xff\xfe,cat\n")
    with pytest.raises(DataError, match="cannot be read as CSV in UTF-8"):
        read(table)

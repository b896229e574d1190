"""Folders that are splits make one data set."""

from pathlib import Path

import pytest

from ml.data.dataset import DataError
from ml.data.layout.read import read
from tests.ml.data.layout import counted, make


def split_folders(folder: Path, *splits: str, classes: str = "cats dogs") -> Path:
    return make(folder, {f"{split}/{name}/{{}}.png": 2 for split in splits for name in classes.split()})


@pytest.mark.parametrize(
    "splits",
    [
        "train val test",
        "Training Validation Testing",
        "training_set valid test_set",
        "train_set validation_set test1",
        "TRAIN dev TEST",
        "dataset/training_set/training_set dataset/valid/valid dataset/test_set/test_set",
    ],
)
def test_splits_are_given(tmp_path: Path, splits: str) -> None:
    listing = read(split_folders(tmp_path, *splits.split()))
    assert (listing.classes, listing.given) == (("cats", "dogs"), ("train", "validation", "test"))
    assert counted(listing) == {(split, name): 2 for split in listing.given for name in listing.classes}
    assert len({file.names[0] for file in listing.files}) == 12


def test_missing_split_is_not_given(tmp_path: Path) -> None:
    assert read(split_folders(tmp_path, "train", "test")).given == ("train", "test")
    assert read(split_folders(tmp_path / "more", "train", "val")).given == ("train", "validation")


def test_one_split_alone_is_a_data_set(tmp_path: Path) -> None:
    listing = read(split_folders(tmp_path, "train"))
    assert (listing.classes, listing.given) == (("cats", "dogs"), ())


def test_unlabelled_test_images_are_ignored_with_a_note(tmp_path: Path) -> None:
    files = {"train/cat.{}.png": 3, "train/dog.{}.png": 3, "test1/{}.png": 4}
    listing = read(make(tmp_path, files))
    assert counted(listing) == {("train", "cat"): 3, ("train", "dog"): 3}
    assert listing.given == ()
    assert listing.notes == (f"{tmp_path}/test1 is ignored: its 4 files have no labels.",)


@pytest.mark.parametrize("test", ["test/{}.png", "test/unknown/{}.png", "test/test/{}.png", "test/test_{}.png"])
def test_unlabelled_test_images_beside_class_folders_are_ignored(tmp_path: Path, test: str) -> None:
    listing = read(make(split_folders(tmp_path, "train"), {test: 4}))
    assert {file.split for file in listing.files} == {"train"}
    assert listing.notes == (f"{tmp_path}/test is ignored: its 4 files have no labels.",)


def test_other_folders_beside_splits_are_ignored_with_a_note(tmp_path: Path) -> None:
    listing = read(make(split_folders(tmp_path, "training_set", "test_set"), {"single_prediction/{}.png": 2}))
    assert listing.given == ("train", "test")
    assert listing.notes == (f"{tmp_path}/single_prediction is ignored: it is neither a split nor a class.",)


def test_splits_below_classes_are_given(tmp_path: Path) -> None:
    listing = read(make(tmp_path, {"cat/train/{}.png": 3, "cat/test/{}.png": 1, "dog/train/{}.png": 2}))
    assert counted(listing) == {("train", "cat"): 3, ("test", "cat"): 1, ("train", "dog"): 2}
    assert listing.given == ("train", "test")


def test_class_called_train_is_a_class(tmp_path: Path) -> None:
    listing = read(make(tmp_path, {"train/{}.png": 2, "bus/{}.png": 2, "car/{}.png": 2}))
    assert listing.classes == ("bus", "car", "train")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("train/cat train/dog rest/cat rest/dog", "rest is the name of no split: rename it to 'validation' or 'test'"),
        ("train/cat train/dog val/cat", "val lacks the class dog, which .*/train has"),
        ("train/cat train/dog test/cat test/dog test/emu", "train lacks the class emu, which .*/test has"),
        ("train/cat train/dog test/cats test/dogs", "test lacks the class cat, dog"),
        ("val/cat val/dog test/cat test/dog", "no folder of training images"),
        ("train/cat train/dog test/cat test/dog test1/cat test1/dog", "are both the test split"),
        ("train/steam train/diesel bus/city bus/coach", "could be classes or splits"),
        ("train/cat test/cat", r"holds one class \(cat\)"),
        ("cat/test dog/test", "states the splits test, but no training images"),
    ],
)
def test_unclear_splits_are_one_sentence(tmp_path: Path, files: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(make(tmp_path, {f"{folder}/{{}}.png": 2 for folder in files.split()}))
    assert "\n" not in str(caught.value)


def test_training_images_without_labels_are_one_sentence(tmp_path: Path) -> None:
    make(tmp_path, {"train/{}.png": 3, "test/{}.png": 3})
    with pytest.raises(DataError, match=r"images in .*/train have no labels: put the images of each class"):
        read(tmp_path)
    (tmp_path / "labels.csv").write_text("filename;breed;class\ntrain/0.png;x;cat\n")
    with pytest.raises(DataError, match=r"train have no labels: give .*/labels\.csv"):
        read(tmp_path)

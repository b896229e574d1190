"""Names of splits and numbered files are read; a camera's file names are no classes."""

import pytest

from ml.data.layout.names import class_in, classes_in, split_named


@pytest.mark.parametrize(
    ("names", "split"),
    [
        ("train Train TRAINING training_set train_set trainset Training-Set train2017 seg_train train_images", "train"),
        ("val valid Validation validation_set VALID val2017 valset dev", "validation"),
        ("test test_set Testing test1 testset Test-Data seg_test evaluation", "test"),
        ("cat dog training_shoes trains contest value rest data images 1 device latest tëst", None),
    ],
)
def test_split_named_knows_what_people_write(names: str, split: str | None) -> None:
    assert {split_named(name) for name in names.split()} == {split}


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("cat.0.jpg", "cat"),
        ("cat_12.JPG", "cat"),
        ("cat-12.png", "cat"),
        ("Cat (3).jpg", "cat"),
        ("cat7.webp", "cat"),
        ("Abyssinian_101.jpg", "abyssinian"),
        ("american_pit_bull_terrier_12.jpg", "american_pit_bull_terrier"),
        ("0_123.jpg", "0"),
        ("cafe\u0301_1.jpg", "caf\u00e9"),
        ("1.jpg", None),
        ("cat.jpg", None),
        ("IMG_0001.jpg", None),
        ("DSC01234.jpg", None),
        ("image_12.png", None),
        ("PXL_20240105_123456.jpg", None),
        ("20240105_123456.jpg", None),
        ("frame-001.png", None),
    ],
)
def test_class_in_file_name(name: str, label: str | None) -> None:
    assert class_in(name) == label


def test_names_that_differ_from_file_to_file_are_no_classes() -> None:
    assert classes_in(["cat_1.jpg", "cat_2.jpg", "dog_1.jpg", "dog_2.jpg"]) is not None
    assert classes_in(["beach_1.jpg", "party_3.jpg", "me_1.jpg"]) is None
    assert classes_in(["cat_1.jpg", "cat_2.jpg", "cat_3.jpg", "other.jpg"]) is None
    assert classes_in([]) == {} or classes_in([]) is None

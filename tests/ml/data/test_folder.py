"""A data set's name becomes a name for files, labels and MLflow models."""

import itertools
import unicodedata

import pytest

from ml.data.folder import slug


@pytest.mark.parametrize(
    ("name", "short"),
    [("PetImages", "petimages"), ("Bob's/photos: 2026", "bob-s-photos-2026"), ("!!!", "data"), ("a – b", "a-b")],
)
def test_slug_of_a_name_that_loses_no_letter_has_no_hash(name, short):
    assert slug(name) == short


def test_slug_keeps_names_apart_that_lose_letters():
    names = [
        "猫狗",
        "Мои фото",
        "Фото",
        "cafe",
        "café",
        "cafè",
        "fur",
        "für",
        "🐱",
        "🐶",
        "data",
        "كلاب",
        "हिन्दी",
        "हन्द",
    ]
    slugs = {name: slug(name) for name in names}
    assert len(set(slugs.values())) == len(names)
    assert all(short.isascii() and short == slug(short) for short in slugs.values())
    assert slugs["café"].startswith("cafe-") and slugs["für"].startswith("fur-")


@pytest.mark.parametrize("name", ["Café", "Ёлки", "が"])
def test_slug_does_not_depend_on_case_or_composition(name):
    forms = [
        unicodedata.normalize(form, change(name))
        for form, change in itertools.product(("NFC", "NFD"), (str.lower, str.upper))
    ]
    assert len({slug(form) for form in forms}) == 1

"""Corruptions do what their names say to a picture, and leave it one."""

import io

import numpy as np
import pytest
from PIL import Image

from bundle.preprocess import decode
from ml.evaluation import corruptions
from ml.evaluation.corruptions import CORRUPTIONS

SIZE = (300, 200)


@pytest.fixture(scope="module")
def photo() -> bytes:
    """Coloured patches, lighter towards the top."""
    coarse = np.random.default_rng(0).integers(0, 256, (20, 30, 3)) * np.linspace(1, 0.3, 20)[:, None, None]
    file = io.BytesIO()
    Image.fromarray(coarse.astype(np.uint8)).resize(SIZE).save(file, "JPEG", quality=95)
    return file.getvalue()


def seen(data: bytes) -> np.ndarray:
    return decode(data, 128, "stretch").astype(float)


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_only_what_exif_undoes_leaves_a_photo_as_it_was(photo):
    changed = {name: np.abs(seen(spoil(photo)) - seen(photo)).mean() for name, spoil in CORRUPTIONS.items()}
    untouched = {name for name, change in changed.items() if change < 1.5}
    assert untouched == {"turned by 90°, EXIF says so"}, changed


@pytest.mark.parametrize(
    "spoil", [corruptions._compressed, corruptions._blurred, corruptions._dim, corruptions._shrunk]
)
def test_a_spoiled_photo_still_shows_the_same(photo, spoil):
    assert 0.6 < likeness(seen(spoil(photo)), seen(photo)) < 0.9999


def test_dim_is_a_quarter_of_the_light(photo):
    assert seen(corruptions._dim(photo)).mean() == pytest.approx(seen(photo).mean() / 4, rel=0.1)


def test_compressed_is_small(photo):
    assert len(corruptions._compressed(photo)) < len(photo) / 3


def test_turned_is_turned(photo):
    turned = seen(corruptions._turned(photo))
    assert likeness(np.rot90(turned, -1), seen(photo)) > 0.95 > likeness(turned, seen(photo))


def test_tight_shows_the_middle_larger_and_loose_smaller(photo):
    whole = Image.open(io.BytesIO(photo))
    tight, loose = (Image.open(io.BytesIO(spoil(photo))) for spoil in (corruptions._tight, corruptions._loose))
    assert tight.size == (200, 134) and loose.size == (450, 300)
    middle = np.asarray(whole.crop((50, 33, 250, 167)), float)
    assert likeness(np.asarray(tight, float), middle) > 0.98
    assert likeness(np.asarray(loose.crop((75, 50, 375, 250)), float), np.asarray(whole, float)) > 0.98

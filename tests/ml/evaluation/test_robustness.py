"""Corruptions do what their names say to a photo."""

import io

import numpy as np
import pytest
from PIL import Image

from bundle.preprocess import decode
from ml.evaluation.robustness import CORRUPTIONS
from tests import drawn_images as drawn


@pytest.fixture(scope="module")
def photo() -> bytes:
    """Coloured patches, lighter towards the top."""
    coarse = np.random.default_rng(0).integers(0, 256, (20, 30, 3)) * np.linspace(1, 0.3, 20)[:, None, None]
    file = io.BytesIO()
    Image.fromarray(coarse.astype(np.uint8)).resize((300, 200)).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.fixture(scope="module")
def corrupted(photo) -> dict[str, bytes]:
    """The corrupted photos, by the beginnings of their names."""
    return {name[:9]: corrupt(photo) for name, corrupt in CORRUPTIONS.items() if "EXIF says" not in name}


def seen(data: bytes) -> np.ndarray:
    return decode(data, 128, "stretch").astype(float)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_every_corruption_but_a_rotation_in_exif_changes_the_photo(photo):
    changes = {name: np.abs(seen(corrupt(photo)) - seen(photo)).mean() for name, corrupt in CORRUPTIONS.items()}
    assert {name for name, change in changes.items() if change < 1.5} == {"turned by 90°, EXIF says so"}, changes


@pytest.mark.parametrize("name", ["JPEG of q", "blurred b", "a quarter", "shrunk to"])
def test_degraded_photo_still_shows_the_same(photo, corrupted, name):
    assert 0.6 < correlation(seen(corrupted[name]), seen(photo)) < 0.9999


@pytest.mark.parametrize("kind", ["grey_16_bit", "transparent", "without_end"])
def test_images_are_read_as_the_service_reads_them(kind):
    data = drawn.noise()[:-2] if kind == "without_end" else getattr(drawn, kind)()
    same = CORRUPTIONS["turned by 90°, EXIF says so"](data)
    assert np.abs(seen(same) - seen(data)).mean() < 8


def test_corruptions_are_as_strong_as_named(photo, corrupted):
    assert seen(corrupted["a quarter"]).mean() == pytest.approx(seen(photo).mean() / 4, rel=0.1)
    assert len(corrupted["JPEG of q"]) < len(photo) / 3
    turned = seen(corrupted["turned by"])
    assert correlation(np.rot90(turned, -1), seen(photo)) > 0.95 > correlation(turned, seen(photo))


def test_crops_show_the_middle_larger_or_smaller(photo, corrupted):
    whole = Image.open(io.BytesIO(photo))
    tight, loose = (Image.open(io.BytesIO(corrupted[name])) for name in ("tight cro", "loose cro"))
    assert tight.size == (200, 134) and loose.size == (450, 300)
    middle = np.asarray(whole.crop((50, 33, 250, 167)), float)
    assert correlation(np.asarray(tight, float), middle) > 0.98
    assert correlation(np.asarray(loose.crop((75, 50, 375, 250)), float), np.asarray(whole, float)) > 0.98


def test_photo_is_framed_or_loses_its_colour(photo, corrupted):
    box, screen = (Image.open(io.BytesIO(corrupted[name])) for name in ("letterbox", "phone scr"))
    assert box.size == (300, 300) and np.asarray(box)[:40].mean() < 3
    assert (
        correlation(np.asarray(box.crop((0, 50, 300, 250)), float), np.asarray(Image.open(io.BytesIO(photo)), float))
        > 0.98
    )
    assert screen.height > 2 * screen.width and np.asarray(screen)[-100:-60].mean() > 250
    grey = seen(corrupted["without c"])
    assert np.abs(grey - grey.mean(2, keepdims=True)).max() < 3

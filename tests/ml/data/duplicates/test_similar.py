"""Copies of an image are found, and different images that look alike are not."""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.preprocess import decode
from ml.data import report
from ml.data.duplicates.similar import MAX_GROUP, find_near_duplicates, largest_group, thumbnail
from ml.data.sample import draw
from ml.data.scan import CHECK_SIZE, collect
from ml.data.split import SPLITS
from tests import drawn_images


def blobs(seed: int) -> bytes:
    """Draw soft colours, as photos have."""
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return drawn_images.encode(Image.fromarray(pixels).resize((240, 180), Image.Resampling.BICUBIC), "JPEG", quality=95)


BLOBS = [blobs(seed) for seed in range(60)]


def copy(data: bytes, scale: float, quality: int, kind: str = "JPEG") -> bytes:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    size = (round(image.width * scale), round(image.height * scale))
    return drawn_images.encode(image.resize(size, Image.Resampling.LANCZOS), kind, quality=quality)


def groups(images: Iterable[bytes]) -> tuple[list[list[int]], int]:
    found, crowded = find_near_duplicates(np.array([thumbnail(decode(data, CHECK_SIZE, "stretch")) for data in images]))
    return [group.tolist() for group in found], crowded


@pytest.mark.parametrize(
    ("scale", "quality", "kind"), [(0.5, 40, "JPEG"), (0.9, 60, "JPEG"), (1, 40, "JPEG"), (2, 80, "WEBP")]
)
def test_copies_are_grouped_with_their_original(scale: float, quality: int, kind: str) -> None:
    found, crowded = groups([*BLOBS, *(copy(data, scale, quality, kind) for data in BLOBS)])
    assert found == [[index, len(BLOBS) + index] for index in range(len(BLOBS))]
    assert crowded == 0


def test_different_images_are_not_grouped() -> None:
    flat = [drawn_images.plain((level, level, level)) for level in range(100, 104)]
    noise = [drawn_images.noise(seed=seed) for seed in range(4)]
    icon = Image.new("RGB", (64, 64), drawn_images.WHITE)
    icons = []
    for colour in (drawn_images.RED, drawn_images.GREEN, drawn_images.BLUE):
        icon.paste(colour, (10, 10, 40, 50))
        icons.append(drawn_images.encode(icon))
    shapes = [draw(("circle", "square")[seed % 2], np.random.default_rng(seed)) for seed in range(200)]
    assert groups([*shapes, *BLOBS, *flat, *noise, *icons]) == ([], 0)


@pytest.mark.parametrize("spread", [0, 1])
def test_crowd_is_not_grouped_but_counted(spread: int) -> None:
    """A fixed camera's images, and frames that change little by little."""
    random = np.random.default_rng(0)
    one, other = random.uniform(-60, 60, (2, 8, 8, 3))
    many = 2 * MAX_GROUP
    turn = np.linspace(0, spread * np.pi / 2, many)[:, None, None, None]
    thumbnails = (128 + one * np.cos(turn) + other * np.sin(turn)).astype(np.float32)
    found, crowded = find_near_duplicates(thumbnails)
    assert (found, crowded) == ([], many)


def test_scan_puts_a_group_into_one_split(tmp_path: Path) -> None:
    for name in ("circle", "square"):
        (tmp_path / "set" / name).mkdir(parents=True)
    for index, data in enumerate(BLOBS):
        (tmp_path / "set" / "circle" / f"{index}.jpg").write_bytes(data)
    before = collect(tmp_path / "set", progress=False)
    assert before.near_duplicates == () and all(image.group == image.sha256 for image in before.images)
    for index, data in enumerate(BLOBS[::2]):
        (tmp_path / "set" / "square" / f"small {index}.jpg").write_bytes(copy(data, 0.7, 80))
        (tmp_path / "set" / "circle" / f"again {index}.jpg").write_bytes(copy(data, 1, 60))
    dataset = collect(tmp_path / "set", progress=False)
    assert dataset.near_duplicates == (3,) * 30 and dataset.problems == ()
    images = {image.path.stem: image for image in dataset.images}
    for index in range(30):
        group = [images[name] for name in (str(2 * index), f"small {index}", f"again {index}")]
        assert {image.group for image in group} == {min(image.sha256 for image in group)}
        assert len({image.split for image in group}) == 1
    assert {image.split for image in dataset.images} == set(SPLITS)
    assert "near-duplicates: 90 images in 30 groups" in report.describe(dataset, "")


@pytest.mark.parametrize("count", [150, 2000])
def test_copies_are_grouped_among_products_on_one_background(count: int) -> None:
    """All products are a crowd; a copy is far closer to its original than to the next product."""
    random = np.random.default_rng(0)
    products = random.uniform(-60, 60, (8, 8, 1)) + random.normal(0, 4, (count, 8, 8, 1)).repeat(3, axis=3)
    copies = products[:50] + random.normal(0, 0.4, (50, 8, 8, 3))
    found, crowded = find_near_duplicates((128 + np.concatenate([products, copies])).astype(np.float32))
    assert [group.tolist() for group in found] == [[index, count + index] for index in range(50)]
    assert crowded == count - 50


def test_group_that_is_most_of_a_small_class_is_a_crowd() -> None:
    random = np.random.default_rng(0)
    alike = 128 + random.uniform(-60, 60, (8, 8, 1)) + random.normal(0, 3, (12, 8, 8, 3))
    thumbnails = alike.astype(np.float32)
    assert len(find_near_duplicates(thumbnails)[0]) == 1
    assert find_near_duplicates(thumbnails, np.full(12, largest_group(12))) == ([], 12)
    assert [largest_group(size) for size in (3, 50, 100, 500, 11_499)] == [10, 10, 20, 100, 100]

"""Measure how well a bundle flags images of none of its classes, drawn here or given as folders."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from bundle.load import Bundle
from bundle.manifest import Neither
from bundle.predictor import Predictor
from bundle.preprocess import ImageError, decode
from ml.data.dataset import DataError
from ml.data.scan import CHECK_SIZE

SURE = 0.99
IMAGES_PER_KIND = 50
WIDTH, HEIGHT = 320, 240

Random = np.random.Generator


def read(folders: Sequence[Path]) -> dict[str, list[bytes]]:
    """Read the image files of folders, by folder name.

    Raises:
        DataError: A folder cannot be read, is empty, or holds other files.
    """
    kinds = {}
    for folder in folders:
        try:
            files = [path.read_bytes() for path in sorted(folder.iterdir())]
            for data in files:
                decode(data, CHECK_SIZE, "stretch")
        except (OSError, ImageError) as error:
            raise DataError(f"{folder} is not a folder of images only ({error}).") from error
        if not files:
            raise DataError(f"{folder} holds no images.")
        kinds[folder.name] = files
    return kinds


def measure(bundle: Bundle, given: Mapping[str, Sequence[bytes]]) -> dict[str, Neither]:
    """Measure how many images of none of the classes are flagged, by kind: the drawn ``KINDS`` and encoded images."""
    kinds = {kind: [_encode(image) for image in draw(kind, IMAGES_PER_KIND)] for kind in KINDS}
    predictor, shape = Predictor(bundle), bundle.manifest.input
    shares = {}
    for kind, files in {**kinds, **given}.items():
        pixels = np.stack([decode(data, shape.size, shape.resize) for data in files])
        probabilities, uncertain = predictor.answer(pixels)
        assert uncertain is not None, "the bundle has limits"
        sure = (probabilities.max(1) >= SURE).mean()
        shares[kind] = Neither(pictures=len(files), uncertain=float(uncertain.mean()), sure=float(sure))
    return shares


def draw(kind: str, images: int, seed: int = 0) -> list[Image.Image]:
    """Draw images of one of ``KINDS``; the same seed draws the same images."""
    random = np.random.default_rng(seed)
    return [KINDS[kind](random) for _ in range(images)]


def _encode(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def _image(pixels: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _colour(random: Random) -> NDArray[np.float64]:
    return random.uniform(0, 255, 3)


def _blend(start: NDArray[np.float64], end: NDArray[np.float64], position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Blend from one colour to another, by a position from 0 to 1 for each pixel."""
    return start + (end - start) * position[..., None]


def _grid() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each pixel's position from 0 to 1, across and down."""
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    return across / WIDTH, down / HEIGHT


def _smooth(random: Random, detail: int) -> NDArray[np.float64]:
    """Draw smooth hills from 0 to 1; more detail means more hills."""
    coarse = Image.fromarray((random.random((detail, detail)) * 255).astype(np.uint8))
    return np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), float) / 255


def _noise(random: Random) -> Image.Image:
    return _image(random.uniform(0, 255, (HEIGHT, WIDTH, 3)))


def _flat(random: Random) -> Image.Image:
    return _image(np.broadcast_to(_colour(random), (HEIGHT, WIDTH, 3)))


def _gradient(random: Random) -> Image.Image:
    across, down = _grid()
    direction = random.uniform(0, 1)
    return _image(_blend(_colour(random), _colour(random), direction * across + (1 - direction) * down))


def _clouds(random: Random) -> Image.Image:
    heights = sum(_smooth(random, 3 * 2**octave) / 2**octave for octave in range(4)) / 1.875
    return _image(_blend(_colour(random), _colour(random), np.asarray(heights)))


def _stripes(random: Random) -> Image.Image:
    across, down = _grid()
    angle, stripes = random.uniform(0, np.pi), random.uniform(4, 30)
    wave = np.sin(2 * np.pi * stripes * (across * np.cos(angle) + down * np.sin(angle))) > 0
    return _image(_blend(_colour(random), _colour(random), wave.astype(float)))


def _text(random: Random) -> Image.Image:
    page = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(page)
    for top in range(10, HEIGHT - 10, 14):
        pen.text((10, top), "".join(random.choice(list("abcdefghij   mnoprstuv"), 50)), "black")
    return page


def _shapes(random: Random) -> Image.Image:
    page = _flat(random)
    pen = ImageDraw.Draw(page)
    for _ in range(random.integers(2, 9)):
        left, top = random.uniform(-40, WIDTH), random.uniform(-40, HEIGHT)
        box = (left, top, left + random.uniform(20, 160), top + random.uniform(20, 160))
        fill = tuple(int(value) for value in _colour(random))
        (pen.ellipse if random.random() < 0.5 else pen.rectangle)(box, fill)
    return page


def _landscape(random: Random) -> Image.Image:
    """Draw a sky that pales towards the horizon, hills that darken towards the viewer, and grain."""
    _, down = _grid()
    sky = np.array([90.0, 150.0, 220.0]) + random.normal(0, 25, 3)
    pixels = _blend(sky, np.array([235.0, 230.0, 220.0]), down)
    for nearness in (0.3, 0.6, 1.0):
        ridge = 0.35 + 0.4 * nearness + 0.25 * (_smooth(random, 6)[0] - 0.5)
        ground = np.array([150.0, 160.0, 140.0]) * (1 - nearness) + np.array([50.0, 95.0, 35.0]) * nearness
        grain = _smooth(random, 60)[..., None] * 50 - 25
        pixels = np.where((down > ridge)[..., None], ground + random.normal(0, 15, 3) + grain, pixels)
    return _image(pixels + random.normal(0, 4, pixels.shape)).filter(ImageFilter.GaussianBlur(0.7))


KINDS: dict[str, Callable[[Random], Image.Image]] = {
    "noise": _noise,
    "flat colour": _flat,
    "gradient": _gradient,
    "clouds": _clouds,
    "stripes": _stripes,
    "text": _text,
    "shapes": _shapes,
    "landscape": _landscape,
}

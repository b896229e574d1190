"""Draw a small data set of circles and squares, for a machine without photos."""

import colorsys
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from tqdm import tqdm

from ml.data.folder import Description, new_folder

NAME = "sample-shapes"
# The usual hue of each class, in turns. Circles tend to be warm and squares cool, so a network learns soon; colour
# alone is wrong about once in fourteen times.
CLASSES = {"circle": 0.06, "square": 0.56}
HUE_SPREAD = 0.14  # standard deviation, turns
SIDES = (96, 160)  # pixels, least and most
OVERSAMPLING = 2


def sample(to: Path, images: int = 600, seed: int = 0, progress: bool = True) -> None:
    """Draw a data set of two classes that a small network learns in a minute, with mistakes.

    Place, size, angle and colour of the shape, the shading behind it, the lines across it and the noise are random.

    Args:
        to: The folder to make.
        images: Number over both classes.
        seed: The same seed gives the same bytes.
        progress: Show a progress bar on standard error.

    Raises:
        DataError: ``to`` is there already or cannot be written.
    """
    with new_folder(to, Description(name=NAME, synthetic=True)) as folder:
        for name in CLASSES:
            (folder / name).mkdir()
        for index in tqdm(range(images), "draw", unit=" images", disable=not progress):
            name = tuple(CLASSES)[index % len(CLASSES)]
            image = draw(name, np.random.default_rng([seed, index]))
            (folder / name / f"{index:05}.jpg").write_bytes(image)


def draw(name: str, random: np.random.Generator) -> bytes:
    """Draw one image of a class, as the bytes of a JPEG file."""
    width, height = (int(side) for side in random.integers(*SIDES, size=2, endpoint=True))
    image = Image.fromarray(_shading(width * OVERSAMPLING, height * OVERSAMPLING, random))
    pen = ImageDraw.Draw(image)
    pen.polygon(_outline(name, image.size, random), fill=_colour(random.normal(CLASSES[name], HUE_SPREAD), random))
    for _ in range(random.integers(0, 4)):
        ends = random.uniform((0, 0), image.size, size=(2, 2))
        pen.line([*ends.ravel()], fill=_colour(random.uniform(), random), width=int(random.integers(1, 6)))
    image = image.resize((width, height), Image.Resampling.BOX)
    noise = random.normal(0, random.uniform(2, 25), size=(height, width, 3))
    noisy = (np.asarray(image) + noise).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=int(random.integers(70, 95)))
    return file.getvalue()


def _shading(width: int, height: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a greyish linear gradient in a random direction, shape ``(height, width, 3)``."""
    ground = random.uniform(50, 205) + random.uniform(-30, 30, size=3)
    angle = random.uniform(0, 2 * np.pi)
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, width), np.linspace(-0.5, 0.5, height))
    slope = (x * np.cos(angle) + y * np.sin(angle))[..., np.newaxis] * random.uniform(-60, 60, size=3)
    shading: NDArray[np.uint8] = (ground + slope).clip(0, 255).astype(np.uint8)
    return shading


def _outline(name: str, size: tuple[int, int], random: np.random.Generator) -> list[float]:
    """Place the corners of the shape, x and y in turn, inside an image of this size."""
    radius = min(size) * random.uniform(0.2, 0.45)
    centre = random.uniform((radius, radius), (size[0] - radius, size[1] - radius))
    corners = 4 if name == "square" else 64
    # Of equal area, so that size does not tell the class.
    reach = radius if name == "square" else radius * np.sqrt(2 / np.pi)
    angles = random.uniform(0, 2 * np.pi) + np.arange(corners) * 2 * np.pi / corners
    outline = centre + reach * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return [float(value) for value in outline.ravel()]


def _colour(hue: float, random: np.random.Generator) -> tuple[int, ...]:
    rgb = colorsys.hsv_to_rgb(hue % 1, random.uniform(0.5, 1), random.uniform(0.5, 1))
    return tuple(int(255 * value) for value in rgb)

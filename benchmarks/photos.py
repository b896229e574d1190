"""Images that the benchmarks send: photos of a folder or zip archive, else drawn ones."""

import argparse
import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}
SIZE = (450, 374)  # pixels of a usual photo
DRAWN = 32
MAX_PHOTOS = 200

T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that select images; ``from_arguments`` reads them."""
    parser.add_argument("--photos", type=Path, metavar="FOLDER|ZIP", help="images to send [drawn ones]")
    parser.add_argument("--most", type=int, default=MAX_PHOTOS, metavar="N", help="maximum of photos [%(default)s]")


def from_arguments(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[bytes]:
    """Read the selected images; exit with a usage error if there are none."""
    try:
        return read(options.photos, options.most)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        parser.error(f"--photos {options.photos}: {error}")


def read(source: Path | None, most: int = MAX_PHOTOS) -> list[bytes]:
    """Read encoded images, evenly spread over all that exist.

    Args:
        source: A folder, searched recursively, or a zip archive; None draws images.
        most: Maximum number.

    Raises:
        ValueError: There is no image.
    """
    if source is None:
        return [draw(seed) for seed in range(min(DRAWN, most))]
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
        found = [path.read_bytes() for path in _spread(files, most)]
    else:
        with zipfile.ZipFile(source) as archive:
            names = sorted(name for name in archive.namelist() if Path(name).suffix.lower() in SUFFIXES)
            found = [archive.read(name) for name in _spread(names, most)]
    if not found:
        raise ValueError("there is no image in it. Name a folder or a zip archive of photos.")
    return found


def _spread(items: Sequence[T], most: int) -> Sequence[T]:
    return [items[i * len(items) // most] for i in range(most)] if len(items) > most else items


def draw(seed: int = 0, size: tuple[int, int] = SIZE) -> bytes:
    """Draw a JPEG with about as many bytes as a photo of this size in pixels."""
    coarse = np.random.default_rng(seed).integers(0, 256, (size[1] // 8, size[0] // 8, 3), np.uint8)
    return _jpeg(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))


def scale(photos: Iterable[bytes], megapixels: float) -> Iterator[bytes]:
    """Scale photos to JPEGs of this many megapixels, keeping the aspect ratio."""
    for photo in photos:
        image = Image.open(io.BytesIO(photo)).convert("RGB")
        factor = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
        size = round(image.width * factor), round(image.height * factor)
        yield _jpeg(image.resize(size, Image.Resampling.BICUBIC))


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()

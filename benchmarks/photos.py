"""The pictures that the benchmarks send: real ones of a folder or zip, or else drawn ones."""

import argparse
import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}
USUAL = (450, 374)  # pixels
QUALITY = 90
FEWEST = 32
MOST = 200


def argument(parser: argparse.ArgumentParser) -> None:
    """Let a person say which pictures a benchmark sends; ``chosen`` reads them."""
    parser.add_argument("--photos", type=Path, metavar="FOLDER|ZIP", help="what to send [drawn pictures]")
    parser.add_argument("--most", type=int, default=MOST, metavar="N", help="of the photos [%(default)s]")


def chosen(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[bytes]:
    """Read the pictures of ``argument``; ends the program with a sentence where there are none."""
    try:
        return read(options.photos, options.most)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        parser.error(f"--photos {options.photos}: {error}" if isinstance(error, zipfile.BadZipFile) else str(error))


def read(source: Path | None, most: int = MOST) -> list[bytes]:
    """Read encoded pictures, evenly spread over all that are there.

    Args:
        source: A folder, searched with its sub-folders, or a zip archive; None for drawn ones.
        most: How many at most.

    Raises:
        ValueError: There is no picture in it.
    """
    if source is None:
        return [draw(seed) for seed in range(min(FEWEST, most))]
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
        found = [path.read_bytes() for path in _spread(files, most)]
    else:
        with zipfile.ZipFile(source) as archive:
            names = sorted(name for name in archive.namelist() if Path(name).suffix.lower() in SUFFIXES)
            found = [archive.read(name) for name in _spread(names, most)]
    if not found:
        raise ValueError(f"{source}: there is no picture in it. Name a folder or a zip archive of photos.")
    return found


def _spread(items: list[Any], most: int) -> Iterator[Any]:
    return (items[i * len(items) // most] for i in range(most)) if len(items) > most else iter(items)


def draw(seed: int = 0, size: tuple[int, int] = USUAL) -> bytes:
    """Draw a JPEG with about as many bytes as a photo of that size in pixels has."""
    coarse = np.random.default_rng(seed).integers(0, 256, (size[1] // 8, size[0] // 8, 3), np.uint8)
    return _jpeg(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))


def enlarge(photos: Iterable[bytes], megapixels: float) -> Iterator[bytes]:
    """Scale photos up or down to JPEGs of a number of megapixels, with the sides' proportion kept."""
    for photo in photos:
        image = Image.open(io.BytesIO(photo)).convert("RGB")
        factor = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
        size = round(image.width * factor), round(image.height * factor)
        yield _jpeg(image.resize(size, Image.Resampling.BICUBIC))


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()

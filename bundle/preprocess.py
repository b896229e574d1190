"""Decode an encoded image into the model's pixels: the one definition for evaluation and serving."""

import io
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bundle import exif
from bundle.image_file import (
    FORMATS,
    MAX_PIXELS,
    SIGNATURES,
    BrokenImageError,
    ImageError,
    ImageFile,
    UnsupportedImageError,
    broken,
    load,
    open_image,
)

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "SIGNATURES",
    "BrokenImageError",
    "ImageError",
    "Resize",
    "UnsupportedImageError",
    "count_pixels",
    "decode",
    "decode_whole",
    "warm_up",
]

DETAIL = 1.25  # times the target's side
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Resize = Literal["stretch", "center-crop"]


def decode(data: bytes, size: int, resize: Resize, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode an encoded image into the pixels that the model takes.

    The EXIF orientation is applied, transparency becomes white, and only the first frame of an animation counts.

    Args:
        data: The file's bytes, of one of ``FORMATS``; recognised by content, not by name.
        size: Side of the square result, in pixels.
        resize: ``stretch`` scales both sides to ``size``; ``center-crop`` first cuts the largest centred square.
        max_pixels: Most pixels to decode, checked before decoding. A JPEG that is decoded at a reduced scale has fewer
            than its width times its height.

    Returns:
        RGB pixels, shape ``(size, size, 3)``.

    Raises:
        UnsupportedImageError: The bytes are not an image of an accepted format.
        BrokenImageError: The image is damaged, truncated, or larger than ``max_pixels``.
    """
    file = open_image(data, _least(size), max_pixels)
    box = _box(file.width, file.height, resize)
    image = _read(file, lambda image: image.resize((size, size), Image.Resampling.BILINEAR, box=box))
    return np.asarray(image, dtype=np.uint8)


def decode_whole(data: bytes, least: int = 2048) -> Image.Image:
    """Decode an encoded image by the rules of ``decode``, but at its own shape.

    Args:
        data: The file's bytes.
        least: Shortest side that is needed, in pixels: a larger JPEG may be decoded at a reduced scale.

    Returns:
        An upright RGB image.

    Raises:
        ImageError: As ``decode``.
    """
    return _read(open_image(data, least))


def count_pixels(data: bytes, size: int, max_pixels: int = MAX_PIXELS) -> int:
    """Count the pixels that ``decode`` would decode; raises its errors for a header that cannot be read."""
    return open_image(data, _least(size), max_pixels).cost


def warm_up() -> None:
    """Decode a tiny image of each format, so that one thread alone imports all that Pillow needs.

    Two native threads that import at the same time under gevent could wait for its import lock for ever.
    """
    for kind in FORMATS:
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, kind)
        decode(file.getvalue(), 8, "stretch")


def _least(size: int) -> int:
    """Return the shortest side that keeps what the resize needs."""
    return math.ceil(DETAIL * size)


def _read(file: ImageFile, resize: Callable[[Image.Image], Image.Image] = lambda image: image) -> Image.Image:
    try:
        image = load(file)
        # Before the conversion, which may drop the block. XMP is not read: browsers ignore its orientation.
        turned = 1 if image.format == "TIFF" else exif.orientation(image.info.get("exif", b""))  # Pillow turns TIFF
        image = resize(_resizable(image))
        # Rotate and convert after the resize, where both are cheap.
        if turned in TRANSPOSITIONS:
            image = image.transpose(TRANSPOSITIONS[turned])
        return _rgb(image)
    except MemoryError as error:
        raise BrokenImageError("The image needs too much memory. Scale it down.") from error
    except Exception as error:  # as in open_image
        raise broken(error) from error


def _box(width: float, height: float, resize: Resize) -> tuple[float, float, float, float]:
    if resize == "stretch":
        return 0, 0, width, height
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _resizable(image: Image.Image) -> Image.Image:
    """Convert an image to a mode whose values can be averaged, without a copy where it already has one."""
    mode = "RGBA" if image.has_transparency_data else "RGB"
    if image.mode.startswith("I"):
        mode = "F"  # Pillow's own conversion of 16 bits to RGB clips at 255 instead of scaling
    return image if image.mode == mode else image.convert(mode)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        return Image.fromarray((np.asarray(image) / 257).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image

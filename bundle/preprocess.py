"""Decode an encoded image into the model's pixels: the one definition for evaluation and serving."""

import contextlib
import io
import math
import re
import warnings
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from bundle.jpeg_limits import MAX_SCANS, MAX_SEGMENTS, exceeds_limits

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
SIGNATURES = re.compile(rb"\xff\xd8\xff|\x89PNG|RIFF.{4}WEBP|GIF8|BM", re.DOTALL)
MAX_PIXELS = 64_000_000
DETAIL = 1.25  # times the target's side

Resize = Literal["stretch", "center-crop"]

# The check below raises an error where Pillow only warns.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Corrupt EXIF and the like in an upload are no concern of the operator.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class ImageError(ValueError):
    """The bytes cannot be classified; the message tells the sender what to do."""


class UnsupportedImageError(ImageError):
    """Not an image, or an image format that is not accepted."""


class BrokenImageError(ImageError):
    """An image that is truncated, damaged or too large."""


def decode(data: bytes, size: int, resize: Resize, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode an encoded image into the pixels that the model takes.

    The EXIF orientation is applied, transparency becomes white, and only the first frame of an animation counts.

    Args:
        data: The file's bytes (JPEG, PNG, WebP, GIF or BMP; recognised by content, not by name).
        size: Side of the square result, in pixels.
        resize: ``stretch`` scales both sides to ``size``; ``center-crop`` first cuts the largest centred square.
        max_pixels: Largest accepted width times height, checked before decoding.

    Returns:
        RGB pixels, shape ``(size, size, 3)``.

    Raises:
        UnsupportedImageError: The bytes are not an image of an accepted format.
        BrokenImageError: The image is damaged, truncated, or larger than ``max_pixels``.
    """
    if exceeds_limits(data):
        raise BrokenImageError(f"The JPEG has over {MAX_SCANS} scans or {MAX_SEGMENTS} segments. Save it anew.")
    # Opening some GIF and WebP files allocates their pixels: only Pillow's own limit acts before that.
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        if SIGNATURES.match(data):
            raise _broken(error) from None
        raise UnsupportedImageError(f"This image format is not accepted. Send one of: {', '.join(FORMATS)}.") from None
    except Image.DecompressionBombError:
        raise _too_large(f"more than {2 * max_pixels:,}", max_pixels) from None
    except Exception as error:
        # Pillow's parsers raise many classes on hostile bytes (struct.error, KeyError, OverflowError, …).
        raise _broken(error) from error
    width, height = image.size
    if width * height > max_pixels:
        raise _too_large(f"{width} × {height}", max_pixels)
    try:
        return _pixels(image, size, resize)
    except Exception as error:  # as above
        raise _broken(error) from error


def warm_up() -> None:
    """Decode a tiny image of each format, so that one thread alone imports all that Pillow needs.

    Two native threads that import at the same time under gevent could wait for its import lock for ever.
    """
    for kind in FORMATS:
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, kind)
        decode(file.getvalue(), 8, "stretch")


def _too_large(pixels: str, max_pixels: int) -> BrokenImageError:
    return BrokenImageError(f"The image has {pixels} pixels; at most {max_pixels:,} are accepted. Scale it down.")


def _broken(error: Exception) -> BrokenImageError:
    return BrokenImageError(f"The image is damaged or incomplete ({type(error).__name__}). Send the whole file again.")


def _pixels(image: Image.Image, size: int, resize: Resize) -> NDArray[np.uint8]:
    # A JPEG decodes at 1/2, 1/4 or 1/8 scale for a fraction of the cost. DETAIL keeps what the resize needs.
    least = math.ceil(DETAIL * size)
    scaled = image.draft(None, (least, least))
    # The last row and column of a reduced JPEG may cover part of a pixel and must not be stretched.
    width, height = scaled[1][2:] if scaled else image.size
    image = _resizable(image)
    image = image.resize((size, size), Image.Resampling.BILINEAR, box=_box(width, height, resize))
    # Rotate and convert after the resize, where both are cheap.
    with contextlib.suppress(Exception):  # corrupt EXIF does not spoil the pixels
        image = ImageOps.exif_transpose(image)
    return np.asarray(_rgb(image), dtype=np.uint8)


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

"""From an uploaded file to pixels: the one definition that serving and evaluation share."""

import contextlib
import io
import math
import re
import warnings
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from bundle import jpeg_limits as jpeg

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
SIGNATURES = re.compile(rb"\xff\xd8\xff|\x89PNG|RIFF.{4}WEBP|GIF8|BM", re.DOTALL)
MAX_PIXELS = 64_000_000
DETAIL = 1.25  # times the target's side

Resize = Literal["stretch", "center-crop"]

# Between Pillow's own limit and twice that, the check below is an error.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Oddities in a stranger's file, such as corrupt EXIF, are nothing to warn whoever runs this about.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

EXIF_ORIENTATION = 0x0112
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(ValueError):
    """The bytes are not a picture that can be classified; the message tells the sender what to do."""


class UnsupportedImageError(ImageError):
    """Not a picture at all, or a kind of picture that is not accepted."""


class BrokenImageError(ImageError):
    """A picture of an accepted kind that is truncated, damaged or has too many pixels."""


def decode(data: bytes, size: int, resize: Resize, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode an encoded picture to what the model takes.

    The EXIF orientation is applied, transparency is laid on white, and of an animation the first frame counts.

    Args:
        data: The file's bytes (JPEG, PNG, WebP, GIF or BMP; recognised by content, not by name).
        size: Side of the square result, in pixels.
        resize: ``stretch`` scales both sides to ``size``; ``center-crop`` first cuts the largest centred square.
        max_pixels: Width times height above which a picture is refused before it is decoded.

    Returns:
        RGB pixels, shape ``(size, size, 3)``.

    Raises:
        UnsupportedImageError: The bytes are no picture of an accepted kind.
        BrokenImageError: The picture is damaged, truncated, or larger than ``max_pixels``.
    """
    if jpeg.too_laborious(data):
        raise BrokenImageError(
            f"The picture is built in more steps than the {jpeg.MAX_SCANS} scans and {jpeg.MAX_SEGMENTS} segments that "
            "are accepted. Save it anew."
        )
    # To open some GIF and WebP files is to make room for their pixels: only Pillow can refuse them before.
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        if SIGNATURES.match(data):
            raise BrokenImageError(
                "The picture is damaged or incomplete: its header cannot be read. Send the file again, whole."
            ) from None
        raise UnsupportedImageError(
            f"This is not a picture of an accepted kind. Send one of: {', '.join(FORMATS)}."
        ) from None
    except Image.DecompressionBombError:
        raise BrokenImageError(
            f"The picture has more than {2 * max_pixels:,} pixels; at most {max_pixels:,} in all are accepted. "
            "Scale it down."
        ) from None
    except Exception as error:
        # Pillow's parsers raise whatever their arithmetic runs into on hostile bytes
        # (struct.error, KeyError, OverflowError, …): all of them mean a broken file.
        raise _broken(error) from error
    width, height = image.size
    if width * height > max_pixels:
        raise BrokenImageError(
            f"The picture has {width} × {height} pixels; at most {max_pixels:,} in all are accepted. Scale it down."
        )
    try:
        return _pixels(image, size, resize)
    except Exception as error:  # as above
        raise _broken(error) from error


def _broken(error: Exception) -> BrokenImageError:
    return BrokenImageError(
        f"The picture is damaged or incomplete ({type(error).__name__} while decoding). Send the file again, whole."
    )


def _pixels(image: Image.Image, size: int, resize: Resize) -> NDArray[np.uint8]:
    # A JPEG decodes at 1/2, 1/4 or 1/8 scale for a fraction of the cost; never so small that the resize below would not
    # see more detail than it keeps.
    least = math.ceil(DETAIL * size)
    scaled = image.draft(None, (least, least))
    # Its last row and column may stand for a part of a pixel, and would be stretched to a whole one.
    width, height = scaled[1][2:] if scaled else image.size
    # Before its EXIF is read: that of a PNG may stand behind its pixels, whose errors are not to be swallowed with it.
    image.load()
    orientation = _orientation(image)
    image = _resizable(image)
    image = image.resize((size, size), Image.Resampling.BILINEAR, box=_box(width, height, resize))
    # After the resize: on the small square, colours and turning cost nothing, and a square stays one.
    image = _rgb(image)
    if orientation in TRANSPOSE:
        image = image.transpose(TRANSPOSE[orientation])
    return np.asarray(image, dtype=np.uint8)


def _orientation(image: Image.Image) -> int | None:
    with contextlib.suppress(Exception):  # nonsense in EXIF does not spoil the pixels
        return image.getexif().get(EXIF_ORIENTATION)
    return None


def _box(width: float, height: float, resize: Resize) -> tuple[float, float, float, float]:
    if resize == "stretch":
        return 0, 0, width, height
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _resizable(image: Image.Image) -> Image.Image:
    """Bring a picture into a mode whose values can be averaged; without a copy where it is in one."""
    mode = "RGBA" if image.has_transparency_data else "RGB"
    if image.mode.startswith("I"):
        mode = "F"  # 16 bits a channel: Pillow's own conversion to RGB clips at 255 instead of scaling
    return image if image.mode == mode else image.convert(mode)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        return Image.fromarray((np.asarray(image) / 257).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image

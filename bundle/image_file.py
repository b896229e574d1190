"""Open image files of the accepted formats, at a scale and a cost that suit the model."""

import io
import re
import warnings
from typing import NamedTuple

from PIL import AvifImagePlugin, Image, UnidentifiedImageError
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile

from bundle.jpeg_limits import MAX_SCANS, MAX_SEGMENTS, exceeds_limits, is_single_pass
from bundle.tiff_limits import tile_size

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF", "JPEG2000")
MAX_PIXELS = 64_000_000
# JPEG 2000 takes as long as four times its pixels in other formats.
JPEG2000_COST = 4

JPEG_START = b"\xff\xd8\xff"
JPEG_DENSITY = 256  # pixels a byte at most: a block of 8 × 8 takes 2 bits
JPEG_END = b"\xff\xd9"
FILLER = bytes(range(254, 0, -1)) * 2
TIFF_STARTS = (b"II*\0", b"MM\0*")
LEVELS = re.compile(rb"\xff\x52..[\x00-\xff]{5}([\x00-\x20])", re.DOTALL)  # of JPEG 2000's coding style
AVIF_EXIF = re.compile(rb"(infe.{8,10})Exif", re.DOTALL)
HEIF = re.compile(rb".{4}ftyp(mif1|msf1|hei[cxms]|hev[cxms])", re.DOTALL)
AVIF = re.compile(rb".{4}ftyp(?:avif|avis|.{4,60}avi[fs])", re.DOTALL)
JPEG_XL = re.compile(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n")
SIGNATURES = re.compile(
    rb"\xff\xd8\xff|\x89PNG|RIFF.{4}WEBP|GIF8|BM|II\*\0|MM\0\*|\0\0\0\x0cjP  |\xff\x4f\xff\x51|"
    rb".{4}ftyp(avif|avis)|%b|%b" % (HEIF.pattern, JPEG_XL.pattern),
    re.DOTALL,
)

# The check below raises an error where Pillow only warns.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Corrupt EXIF and the like in an upload are no concern of the operator.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
# One image has one CPU.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


class ImageError(ValueError):
    """The bytes cannot be classified; the message tells the sender what to do."""


class UnsupportedImageError(ImageError):
    """Not an image, or an image format that is not accepted."""


class BrokenImageError(ImageError):
    """An image that is truncated, damaged or too large."""


class ImageFile(NamedTuple):
    """An opened image, whose pixels are not decoded yet."""

    data: bytes
    image: Image.Image
    width: float  # of the part to use: the last pixels of a reduced image may stand for less than a pixel
    height: float
    cost: int  # pixels that decoding takes, in time and memory


def open_image(data: bytes, least: int, max_pixels: int = MAX_PIXELS) -> ImageFile:
    """Open an image at the smallest scale with at least ``least`` pixels on each side that its format offers.

    Args:
        data: The file's bytes, recognised by content.
        least: Shortest side that is needed, in pixels; smaller images stay as they are.
        max_pixels: Most pixels that decoding may take.

    Raises:
        UnsupportedImageError: The bytes are not an image of an accepted format.
        BrokenImageError: The header is damaged, or the image takes more than ``max_pixels``.
    """
    _refuse_by_name(data)
    # Opening some GIF and WebP files allocates their pixels: only Pillow's own limit acts before that.
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        image = _open(data)
        opened = _scale(data, image, least)
    except UnidentifiedImageError as error:
        if SIGNATURES.match(data):
            raise broken(error) from None
        raise UnsupportedImageError(f"This image format is not accepted. Send one of: {', '.join(FORMATS)}.") from None
    except Image.DecompressionBombError:
        raise _too_large(f"more than {2 * max_pixels:,} pixels", max_pixels) from None
    except ImageError:
        raise
    except Exception as error:
        # Pillow's parsers raise many classes on hostile bytes (struct.error, KeyError, OverflowError, …).
        raise broken(error) from error
    if opened.cost > max_pixels:
        raise _too_large(opened, max_pixels)
    return opened


def load(file: ImageFile) -> Image.Image:
    """Decode the pixels; of a JPEG, the end marker may be missing. Raises Pillow's errors."""
    try:
        file.image.load()
    except OSError:
        if not isinstance(file.image, JpegImageFile):
            raise
        return _load_without_end(file)
    return file.image


def broken(error: Exception) -> BrokenImageError:
    """Create the error for an image that Pillow could not read."""
    return BrokenImageError(f"The image is damaged or incomplete ({type(error).__name__}). Send the whole file again.")


def _refuse_by_name(data: bytes) -> None:
    if HEIF.match(data) and not AVIF.match(data):
        raise UnsupportedImageError(
            "This is a HEIC image, as iPhones make. Export it as JPEG, or set the camera to 'Most Compatible'."
        )
    if JPEG_XL.match(data):
        raise UnsupportedImageError("This is a JPEG XL image, which is not accepted. Export it as JPEG or PNG.")
    if exceeds_limits(data):
        raise BrokenImageError(
            f"The JPEG has over {MAX_SCANS} scans or {MAX_SEGMENTS} segments, or too much EXIF. Save it anew."
        )
    if data.startswith(TIFF_STARTS) and tile_size(data) is None:
        raise BrokenImageError("The TIFF has an unusual compression, or too many parts. Save it as PNG or JPEG.")


def _open(data: bytes) -> Image.Image:
    if data.startswith(JPEG_START):
        # Not by Image.open, which refuses a JPEG for its full size.
        return JpegImageFile(io.BytesIO(data))
    if AVIF.match(data):
        # Pillow unpacks its EXIF block, for a minute if it is hostile. The orientation has boxes of its own.
        data = AVIF_EXIF.sub(rb"\1none", data)
    return Image.open(io.BytesIO(data), formats=FORMATS)


def _scale(data: bytes, image: Image.Image, least: int) -> ImageFile:
    """Have the decoder reduce the image where it can, for a fraction of the cost."""
    width, height = image.size
    cost = width * height
    if isinstance(image, Jpeg2KImageFile):
        found = LEVELS.search(data)
        levels = min(found[1][0] if found else 0, max(1, min(width, height) // least).bit_length() - 1)
        image.reduce = levels
        scale = 2**levels
        cost = JPEG2000_COST * -(-width // scale) * -(-height // scale)
        return ImageFile(data, image, width / scale, height / scale, cost)
    if isinstance(image, JpegImageFile):
        if cost > JPEG_DENSITY * len(data):
            raise OSError("image file is truncated")
        scaled = image.draft(None, (least, least))
        if is_single_pass(data):
            cost = image.width * image.height
        _, _, right, bottom = scaled[1] if scaled else (0, 0, width, height)
        return ImageFile(data, image, right, bottom, cost)
    if image.format == "TIFF":
        across, down = tile_size(data) or (1, 1)
        cost = -(-width // across) * across * -(-height // down) * down
    return ImageFile(data, image, width, height, cost)


def _load_without_end(file: ImageFile) -> Image.Image:
    """Decode a JPEG twice, with different bytes behind its end: where pixels are missing, the results differ."""
    whole, size = file.data.rstrip(b"\xff"), file.image.size
    # At a reduced scale, a progressive JPEG looks whole when half of it is there.
    compared = size if is_single_pass(whole) else None
    # By their hashes: two images of full size would need more memory than any other file.
    if len({hash(_reload(whole + filler + JPEG_END, compared).tobytes()) for filler in (b"", FILLER)}) > 1:
        raise OSError("image file is truncated")
    return _reload(whole + JPEG_END, size)


def _reload(data: bytes, size: tuple[int, int] | None) -> Image.Image:
    image = JpegImageFile(io.BytesIO(data))
    image.draft(None, size)
    image.load()
    return image


def _too_large(file: ImageFile | str, max_pixels: int) -> BrokenImageError:
    size = file if isinstance(file, str) else f"{file.width} × {file.height} pixels"
    return BrokenImageError(f"The image has {size}; at most {max_pixels:,} are accepted. Scale it down.")

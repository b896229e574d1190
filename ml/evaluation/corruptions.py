"""What phones, messengers and people do to photos before they send them."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from PIL.ExifTags import Base

# Good enough that saving itself is no corruption.
QUALITY = 95


def _opened(data: bytes) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")


def _saved(image: Image.Image, quality: int = QUALITY, exif: Image.Exif | None = None) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, exif=exif or Image.Exif())
    return file.getvalue()


def _compressed(data: bytes) -> bytes:
    return _saved(_opened(data), quality=10)


def _blurred(data: bytes) -> bytes:
    image = _opened(data)
    return _saved(image.filter(ImageFilter.GaussianBlur(max(image.size) / 150)))


def _dim(data: bytes) -> bytes:
    """A quarter of the light, and the noise of a sensor that has too little."""
    pixels = np.asarray(_opened(data), np.float32) / 4
    noise = np.random.default_rng(0).normal(0, 5, pixels.shape)
    return _saved(Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8)))


def _shrunk(data: bytes) -> bytes:
    image = _opened(data)
    image.thumbnail((96, 96))
    return _saved(image)


def _turned(data: bytes) -> bytes:
    return _saved(_opened(data).transpose(Image.Transpose.ROTATE_90))


def _turned_with_exif(data: bytes) -> bytes:
    """As a phone held upright saves it: the pixels lie on their side, and EXIF says so."""
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    return _saved(_opened(data).transpose(Image.Transpose.ROTATE_90), exif=exif)


def _tight(data: bytes) -> bytes:
    image = _opened(data)
    return _saved(ImageOps.crop(image, (image.width // 6, image.height // 6)))  # two thirds of each side are left


def _loose(data: bytes) -> bytes:
    """Two thirds of the size, before a blurred enlargement of itself."""
    image = _opened(data)
    wide = image.resize((image.width * 3 // 2, image.height * 3 // 2)).filter(ImageFilter.GaussianBlur(20))
    wide.paste(image, ((wide.width - image.width) // 2, (wide.height - image.height) // 2))
    return _saved(wide)


# From the bytes of a file to those of another.
CORRUPTIONS: dict[str, Callable[[bytes], bytes]] = {
    "JPEG of quality 10": _compressed,
    "blurred by 1/150 of the longer side": _blurred,
    "a quarter of the light, with noise": _dim,
    "shrunk to 96 pixels": _shrunk,
    "turned by 90°, EXIF says so": _turned_with_exif,
    "turned by 90°, EXIF does not": _turned,
    "tight crop, 2/3 of each side": _tight,
    "loose crop, 2/3 of each side": _loose,
}

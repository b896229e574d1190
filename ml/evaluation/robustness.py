"""Evaluate a bundle on photos as people send them, and on corrupted copies of them."""

import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from PIL.ExifTags import Base

from bundle.load import Bundle
from bundle.manifest import Acceptance
from bundle.preprocess import decode_whole
from ml.data.dataset import LabelledImage
from ml.evaluation.evaluation import evaluate
from ml.evaluation.metrics import metrics

# High enough that saving itself does not corrupt.
QUALITY = 95
SCREEN = (390, 844)  # pixels


def measure(bundle: Bundle, photos: Sequence[LabelledImage]) -> Acceptance:
    """Evaluate a bundle on photos that it was not trained on, unchanged and with each of ``CORRUPTIONS``."""
    corrupted = {
        name: float(evaluate(bundle, photos, progress=False, corrupt=corrupt).correct.mean())
        for name, corrupt in CORRUPTIONS.items()
    }
    return Acceptance(metrics=metrics(evaluate(bundle, photos, progress=False)), corrupted=corrupted)


def _corruption(
    change: Callable[[Image.Image], Image.Image], quality: int = QUALITY, orientation: int = 1
) -> Callable[[bytes], bytes]:
    """Create a function that decodes an image, changes it, and encodes it with an EXIF orientation."""

    def corrupt(data: bytes) -> bytes:
        image = change(decode_whole(data))
        exif, file = Image.Exif(), io.BytesIO()
        exif[Base.Orientation] = orientation
        image.save(file, "JPEG", quality=quality, exif=exif)
        return file.getvalue()

    return corrupt


def _dim(image: Image.Image) -> Image.Image:
    """Reduce to a quarter of the light, with the noise of an underexposed sensor."""
    pixels = np.asarray(image, np.float32) / 4
    noise = np.random.default_rng(0).normal(0, 5, pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def _shrink(image: Image.Image) -> Image.Image:
    image.thumbnail((96, 96))
    return image


def _rotate(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.ROTATE_90)


def _widen(image: Image.Image) -> Image.Image:
    """Show the image at two thirds of the size, on a blurred enlargement of itself."""
    wide = image.resize((image.width * 3 // 2, image.height * 3 // 2)).filter(ImageFilter.GaussianBlur(20))
    wide.paste(image, ((wide.width - image.width) // 2, (wide.height - image.height) // 2))
    return wide


def _letterbox(image: Image.Image) -> Image.Image:
    """Pad to a square with black bars, as image tools do."""
    return ImageOps.pad(image, (max(image.size),) * 2, color="black")


def _screenshot(image: Image.Image) -> Image.Image:
    """Show the image at the full width of a phone's screen, between a title and buttons."""
    photo = ImageOps.contain(image, (SCREEN[0], SCREEN[1] * 2 // 3))
    screen = Image.new("RGB", SCREEN, "white")
    pen = ImageDraw.Draw(screen)
    pen.rectangle((0, 0, SCREEN[0], SCREEN[1] // 12), fill=(30, 30, 34))
    pen.text((20, SCREEN[1] // 24), "Photos", "white")
    for column in range(4):
        left = (2 * column + 1) * SCREEN[0] // 8
        pen.ellipse((left - 12, SCREEN[1] - 44, left + 12, SCREEN[1] - 20), fill=(120, 120, 128))
    screen.paste(photo, ((SCREEN[0] - photo.width) // 2, (SCREEN[1] - photo.height) // 2))
    return screen


# By their names in the manifest.
CORRUPTIONS = {
    "JPEG of quality 10": _corruption(lambda image: image, quality=10),
    "blurred by 1/150 of the longer side": _corruption(
        lambda image: image.filter(ImageFilter.GaussianBlur(max(image.size) / 150))
    ),
    "a quarter of the light, with noise": _corruption(_dim),
    "shrunk to 96 pixels": _corruption(_shrink),
    "turned by 90°, EXIF says so": _corruption(_rotate, orientation=6),
    "turned by 90°, EXIF does not": _corruption(_rotate),
    "tight crop, 2/3 of each side": _corruption(
        lambda image: ImageOps.crop(image, (image.width // 6, image.height // 6))
    ),
    "loose crop, 2/3 of each side": _corruption(_widen),
    "without colour": _corruption(lambda image: ImageOps.grayscale(image).convert("RGB")),
    "letterbox": _corruption(_letterbox),
    "phone screenshot": _corruption(_screenshot),
}

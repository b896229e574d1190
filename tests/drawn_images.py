"""Images drawn for tests: every accepted format, and hostile files."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

RED, GREEN, BLUE, WHITE = (220, 30, 30), (20, 200, 40), (20, 40, 220), (255, 255, 255)
SIDE = 96
ORIENTATION = 0x0112


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Encode an image as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def plain(colour: tuple[int, int, int] = RED, kind: str = "JPEG", size: tuple[int, int] = (SIDE, SIDE)) -> bytes:
    """Draw an image of one colour."""
    return encode(Image.new("RGB", size, colour), kind)


def corners(mode: str = "RGB") -> Image.Image:
    """Draw red and green over blue and white, so that the orientation shows."""
    image = Image.new("RGB", (SIDE, SIDE))
    half = SIDE // 2
    for colour, place in ((RED, (0, 0)), (GREEN, (half, 0)), (BLUE, (0, half)), (WHITE, (half, half))):
        image.paste(colour, (*place, place[0] + half, place[1] + half))
    return image.convert(mode)


def noise(kind: str = "JPEG", size: tuple[int, int] = (120, 90), seed: int = 0) -> bytes:
    """Draw an image that compresses badly, so that any cut falls into its data."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return encode(Image.fromarray(pixels), kind, **({"lossless": True} if kind == "WEBP" else {}))


def progressive(data: bytes) -> bytes:
    """Encode an image as a progressive JPEG."""
    return encode(Image.open(io.BytesIO(data)).convert("RGB"), "JPEG", progressive=True)


def oriented(orientation: int, kind: str = "JPEG") -> bytes:
    """Store ``corners`` rotated or mirrored, with the EXIF orientation that undoes it."""
    undo = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    image = corners()
    for step in undo.get(orientation, []):
        image = image.transpose(step)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encode(
        image, kind, exif=exif, **({"tiffinfo": {ORIENTATION: orientation}} if kind == "TIFF" else {"quality": 95})
    )


def animated(kind: str = "GIF") -> bytes:
    """Draw a red frame and a blue one."""
    second = Image.new("RGB", (SIDE, SIDE), BLUE)
    return encode(Image.new("RGB", (SIDE, SIDE), RED), kind, save_all=True, append_images=[second], duration=100)


def transparent(kind: str = "PNG") -> bytes:
    """Draw transparent red, which appears white."""
    return encode(Image.new("RGBA", (SIDE, SIDE), (*RED, 0)), kind, **({"lossless": True} if kind == "WEBP" else {}))


def grey_16_bit() -> bytes:
    """Draw grey of half brightness in 16 bits."""
    return encode(Image.fromarray(np.full((SIDE, SIDE), 32768, np.uint16)))


def png_header(width: int, height: int) -> bytes:
    """Write a PNG with a size and almost no data, like the start of a decompression bomb."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def heif(brand: bytes) -> bytes:
    """Write the start of a HEIF file."""
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(90)


def broken_exif() -> bytes:
    """Draw a valid JPEG with an invalid EXIF block."""
    return encode(corners(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\xee" * 40, quality=95)


ACCEPTED: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: plain(RED, "JPEG"),
    "jpeg progressive": lambda: encode(Image.new("RGB", (SIDE, SIDE), RED), "JPEG", progressive=True),
    "jpeg cmyk": lambda: encode(Image.new("RGB", (SIDE, SIDE), RED).convert("CMYK"), "JPEG"),
    "jpeg mpo": lambda: encode(
        Image.new("RGB", (SIDE, SIDE), RED), "MPO", save_all=True, append_images=[Image.new("RGB", (SIDE, SIDE), BLUE)]
    ),
    "png": lambda: plain(RED, "PNG"),
    "png palette": lambda: encode(Image.new("RGB", (SIDE, SIDE), RED).quantize(4)),
    "png opaque alpha": lambda: encode(Image.new("RGBA", (SIDE, SIDE), (*RED, 255))),
    "webp": lambda: plain(RED, "WEBP"),
    "webp animated": lambda: animated("WEBP"),
    "gif": lambda: plain(RED, "GIF"),
    "gif animated": lambda: animated("GIF"),
    "bmp": lambda: plain(RED, "BMP"),
    "avif": lambda: plain(RED, "AVIF"),
    "avif animated": lambda: animated("AVIF"),
    "tiff": lambda: plain(RED, "TIFF"),
    "tiff deflate": lambda: encode(Image.new("RGB", (SIDE, SIDE), RED), "TIFF", compression="tiff_adobe_deflate"),
    "tiff lzw": lambda: encode(Image.new("RGB", (SIDE, SIDE), RED), "TIFF", compression="tiff_lzw"),
    "tiff jpeg": lambda: encode(Image.new("RGB", (SIDE, SIDE), RED), "TIFF", compression="jpeg"),
    "tiff cmyk": lambda: encode(Image.new("RGB", (SIDE, SIDE), RED).convert("CMYK"), "TIFF"),
    "tiff big endian": lambda: encode(Image.new("RGB", (SIDE, SIDE), RED), "TIFF", big_endian=True),
    "tiff of pages": lambda: animated("TIFF"),
    "jpeg 2000": lambda: plain(RED, "JPEG2000"),
    "jpeg 2000 codestream": lambda: encode(Image.new("RGB", (SIDE, SIDE), RED), "JPEG2000", no_jp2=True),
    "jpeg without its end": lambda: plain(RED, "JPEG")[:-2],
    "jpeg without its last byte": lambda: plain(RED, "JPEG")[:-1],
    "jpeg progressive without its end": lambda: progressive(plain(RED))[:-2],
    "one pixel": lambda: plain(RED, "PNG", (1, 1)),
    "one pixel high": lambda: plain(RED, "PNG", (4000, 1)),
}
"""Accepted formats by name; each image is red."""

NOT_PICTURES: dict[str, Callable[[], bytes]] = {
    "text": lambda: b"I am a cat, trust me.",
    "html": lambda: b"<!doctype html><script>alert(1)</script>",
    "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "pdf": lambda: b"%PDF-1.7\n1 0 obj\n",
    "zeros": lambda: bytes(5000),
    "heic": lambda: heif(b"heic"),
    "heif of any coding": lambda: heif(b"mif1"),
    "jpeg xl": lambda: b"\xff\x0a" + bytes(90),
    "jpeg xl in boxes": lambda: b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(90),
    "film": lambda: b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(90),
    "ico": lambda: plain(RED, "ICO", (32, 32)),
    "ppm": lambda: plain(RED, "PPM"),
    "eps": lambda: plain(RED, "EPS"),
}
"""Other files, and formats that are not accepted."""

BROKEN: dict[str, Callable[[], bytes]] = {
    "jpeg cut in half": lambda: (data := noise("JPEG"))[: len(data) // 2],
    "png cut in half": lambda: (data := noise("PNG"))[: len(data) // 2],
    "webp cut in half": lambda: (data := noise("WEBP"))[: len(data) // 2],
    "gif cut in half": lambda: (data := noise("GIF"))[: len(data) // 2],
    "bmp cut in half": lambda: (data := noise("BMP"))[: len(data) // 2],
    "avif cut in half": lambda: (data := noise("AVIF"))[: len(data) // 2],
    "tiff cut in half": lambda: (data := noise("TIFF"))[: len(data) // 2],
    "jpeg 2000 cut in half": lambda: (data := noise("JPEG2000"))[: len(data) // 2],
    "tiff signature only": lambda: b"II*\0",
    "jpeg signature only": lambda: b"\xff\xd8\xff",
    "png signature only": lambda: b"\x89PNG\r\n\x1a\n",
    "png bomb": lambda: png_header(50_000, 50_000),
    "png without data": lambda: png_header(100, 100),
    "png zero wide": lambda: png_header(0, 100),
}
"""Files in accepted formats that cannot be decoded, or not safely."""

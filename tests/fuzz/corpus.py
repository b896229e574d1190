"""Hostile images: bombs, lies, garbage and two files in one. Each is a function, because some are large."""

import functools
import io
import struct
import zipfile
from collections.abc import Callable

import numpy as np
from PIL import Image
from PIL.ExifTags import Base

from tests import drawn_images
from tests.fuzz import formats
from tests.fuzz.formats import chunk, jpeg, png, segment

KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF", "JPEG2000")
HUGE = 50_000
TIFF = b"MM\0*\0\0\0\x08"  # the start of an EXIF block
MANY = 30_000

Corpus = dict[str, Callable[[], bytes]]


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../etc/cron.d/cat", "* * * * * root true")
    return file.getvalue()


def _entry(tag: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack(">HHII", tag, kind, count, value)


def _exif(*entries: bytes, count: int | None = None, after: int = 0) -> bytes:
    number = len(entries) if count is None else count
    return TIFF + struct.pack(">H", number) + b"".join(entries) + struct.pack(">I", after)


def _cut(kind: str, percent: int) -> bytes:
    data = drawn_images.noise(kind)
    return data[: len(data) * percent // 100]


def _patched(kind: str, at: int, value: bytes) -> bytes:
    data = drawn_images.plain(kind=kind)
    return data[:at] + value + data[at + len(value) :]


def _mode(mode: str, kind: str) -> bytes:
    return formats.encode(drawn_images.corners().convert(mode), kind)


def _run_length(width: int, height: int, rows: int) -> bytes:
    row = b"\xff\x01" * (width // 255) + bytes([width % 255, 1]) + b"\0\0"
    return formats.bmp(width, height, 8, 1, row * rows + b"\0\1", 256)


_exifs = {
    "nonsense": b"II*\0\xff\xff\xff\x7f" + b"\xee" * 40,
    "no entries": _exif(),
    "65,535 entries announced": _exif(_entry(Base.Orientation, 3, 1, 6 << 16), count=65535),
    "4 billion values": _exif(_entry(Base.Orientation, 3, 2**32 - 1, 8)),
    "orientation as text": _exif(_entry(Base.Orientation, 2, 4, 0x41424344)),
    "orientation as a fraction by zero": _exif(_entry(Base.Orientation, 5, 1, 26), after=0) + bytes(8),
    "a directory that is its own next": _exif(_entry(Base.Orientation, 3, 1, 1 << 16), after=8),
    "a directory within itself": _exif(_entry(0x8769, 4, 1, 8)),
    "every tag": _exif(*(_entry(tag, 7, 4, tag) for tag in range(0, 60_000, 13))),
}


def _many_fractions(tag: int, size: int) -> bytes:
    """Write an EXIF block with one tag of this many bytes."""
    return _exif(_entry(tag, 5, size // 8, 26)) + b"\1" * size


def _exif_segments(block: bytes) -> bytes:
    cut = [block[at : at + 65_000] for at in range(0, len(block), 65_000)]
    return jpeg(*(segment(0xE1, b"Exif\0\0" + part) for part in cut))


def _avif_with(item: bytes) -> bytes:
    """Write an AVIF with this EXIF block, without Pillow, which reads the blocks that it writes."""
    data = formats.encode(drawn_images.corners(), "AVIF", exif=TIFF + bytes(len(item) - len(TIFF)))
    at = data.index(TIFF)
    return data[:at] + item + data[at + len(item) :]


def _resized_avif(width: int, height: int, size: tuple[int, int]) -> bytes:
    """Write an AVIF of one size whose container claims another."""
    data = formats.encode(Image.new("RGB", (width, height)), "AVIF", speed=10)
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", *size) + data[at + 8 :]


def _resized_jpeg_2000(frame: tuple[int, int], tile: tuple[int, int], box: tuple[int, int]) -> bytes:
    """Write a small JPEG 2000 that claims other sizes of its frame, of its tiles, and in its container."""
    data = bytearray(formats.encode(drawn_images.corners(), "JPEG2000"))
    at = data.index(b"\xff\x51") + 6
    data[at : at + 8], data[at + 16 : at + 24] = struct.pack(">II", *frame), struct.pack(">II", *tile)
    at = data.index(b"ihdr") + 4
    data[at : at + 8] = struct.pack(">II", box[1], box[0])
    return bytes(data)


HARMLESS: Corpus = {
    "1 x 10,000": lambda: drawn_images.plain(kind="PNG", size=(1, 10_000)),
    "10,000 x 1": lambda: drawn_images.plain(kind="PNG", size=(10_000, 1)),
    "CMYK JPEG": lambda: _mode("CMYK", "JPEG"),
    "YCCK JPEG": lambda: jpeg(segment(0xEE, b"Adobe\0\x64\0\0\0\0\x02"), mode="CMYK"),
    "grey JPEG": lambda: _mode("L", "JPEG"),
    "palette PNG": lambda: _mode("P", "PNG"),
    "16-bit grey PNG": drawn_images.grey_16_bit,
    "16-bit RGBA PNG": lambda: png(40, 30, depth=16, colour=6),
    "interlaced PNG": lambda: png(40, 30, interlace=1),
    "PNG with a transparent colour": lambda: png(40, 30, chunk(b"tRNS", bytes(6))),
    "PNG of a palette with one entry": lambda: png(40, 30, chunk(b"PLTE", b"\1\2\3"), colour=3),
    "animated PNG": lambda: formats.encode(
        drawn_images.corners(), "PNG", save_all=True, append_images=[drawn_images.corners()] * 3
    ),
    "animated WebP": lambda: formats.animated_webp(64, 48, 50),
    "GIF of 1,000 frames": lambda: formats.encode(
        drawn_images.corners("P"), "GIF", save_all=True, append_images=[drawn_images.corners("P").rotate(1)] * 1000
    ),
    "BMP from below": lambda: formats.bmp(8, -8, 24, pixels=bytes(8 * 24)),
    "BMP of 4 billion colours": lambda: _patched("BMP", 46, b"\xff" * 4),
    "BMP with its pixels before its header": lambda: _patched("BMP", 10, bytes(4)),
    "BMP that runs backwards": lambda: formats.bmp(9, 9, 8, 1, b"\0\2\xff\xff" * MANY, 256),
    "GIF on a screen that is zero wide": lambda: _patched("GIF", 6, bytes(2)),
    "zip behind a JPEG": lambda: drawn_images.plain() + _zip(),
    "HTML behind a PNG": lambda: drawn_images.plain(kind="PNG") + b"<html><script>alert(1)</script>",
    "HTML in a JPEG's comment": lambda: jpeg(segment(0xFE, b"<html><script>alert(1)</script>")),
    "a picture behind a picture": lambda: drawn_images.plain() + drawn_images.plain(kind="PNG"),
    "ICC garbage in a JPEG": lambda: jpeg(segment(0xE2, b"ICC_PROFILE\0\1\1" + b"\xfe" * 5000)),
    "XMP garbage": lambda: jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta" + b"\xff" * 5000)),
    "XMP with entities": lambda: jpeg(
        segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0<!DOCTYPE a[<!ENTITY b "bbb">]><a tiff:Orientation="99">&b;</a>')
    ),
    "XMP with an orientation of 10^4000": lambda: jpeg(
        segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0<a tiff:Orientation="1' + b"0" * 4000 + b'"/>')
    ),
    "Photoshop garbage": lambda: jpeg(segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x03\xed\0\0\xff\xff\xff\xff")),
    "multi-picture garbage": lambda: jpeg(segment(0xE2, b"MPF\0" + TIFF + b"\xff" * 60)),
    "20 MB of EXIF in a PNG": lambda: png(9, 9, chunk(b"eXIf", _many_fractions(Base.Orientation, 19 * 10**6))),
    "20 MB of EXIF in an AVIF": lambda: _avif_with(_many_fractions(Base.Orientation, 19 * 10**6)),
    "animated AVIF": lambda: formats.encode(
        drawn_images.corners(), "AVIF", save_all=True, append_images=[drawn_images.corners()] * 9
    ),
    "16-bit grey TIFF": lambda: formats.encode(Image.new("I;16", (40, 30)), "TIFF"),
    "palette TIFF": lambda: _mode("P", "TIFF"),
    "CMYK TIFF": lambda: _mode("CMYK", "TIFF"),
    "16-bit grey JPEG 2000": lambda: formats.encode(Image.new("I;16", (40, 30)), "JPEG2000"),
    "JPEG 2000 with two channels": lambda: _mode("LA", "JPEG2000"),
    "a TIFF tile larger than the image": lambda: formats.tiled_tiff((9, 9), (5000, 5000)),
    "data that goes on for 100 MB": lambda: png(10, 10, data=formats.deflated(10**8)),
    **{f"EXIF in a JPEG: {name}": lambda e=e: jpeg(segment(0xE1, b"Exif\0\0" + e)) for name, e in _exifs.items()},
    **{f"EXIF in a PNG: {name}": lambda e=e: png(9, 9, chunk(b"eXIf", e)) for name, e in _exifs.items()},
}
"""Strange, but an image: 200."""

NOT_IMAGES: Corpus = {
    **drawn_images.NOT_PICTURES,
    "SVG with entities": lambda: (
        b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
        b'<svg xmlns="http://www.w3.org/2000/svg"><text>&a;</text></svg>'
    ),
    "PDF before a JPEG": lambda: b"%PDF-1.7\n" + drawn_images.plain(),
    "zip before a PNG": lambda: _zip() + drawn_images.plain(kind="PNG"),
    "HTML before a GIF": lambda: b"<html>" + drawn_images.plain(kind="GIF"),
    "EPS with a program": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n",
    "RIFF that is a sound": lambda: b"RIFF\x24\0\0\0WAVEfmt " + bytes(28),
}
"""Not an image of an accepted format: 415."""

BOMBS: Corpus = {
    "PNG": lambda: png(HUGE, HUGE, data=formats.deflated(2**20)),
    "JPEG": lambda: formats.resized_jpeg(HUGE, HUGE),
    "GIF": lambda: formats.gif(HUGE, HUGE),
    "GIF disposed of to its background": lambda: formats.gif(HUGE, HUGE, flags=0x08),
    "GIF disposed of to what was there before": lambda: formats.gif(HUGE, HUGE, flags=0x0D),
    "BMP": lambda: formats.bmp(HUGE, HUGE),
    "run-length BMP": lambda: formats.bmp(HUGE, HUGE, 8, 1, b"\xff\0" * 9999, 256),
    "WebP": lambda: formats.riff(formats.canvas(HUGE, HUGE, 0x02), (b"ANIM", bytes(6)), (b"ANMF", bytes(24))),
    "lossless WebP": lambda: formats.encode(Image.new("RGB", (9000, 9000)), "WEBP", lossless=True, method=0),
    "endless scans": lambda: formats.scans((2000, 2000), MANY),
    "endless segments": lambda: jpeg(segment(0xE5, b"") * MANY),
    "endless fill bytes": lambda: jpeg(b"\xff" * MANY),
    "compressed text of 100 MB": lambda: png(10, 10, chunk(b"zTXt", b"a\0\0" + formats.deflated(10**8))),
    "compressed text in many parts": lambda: png(10, 10, chunk(b"zTXt", b"a\0\0" + formats.deflated(2**20)) * 70),
    "international text of 100 MB": lambda: png(10, 10, chunk(b"iTXt", b"a\0\1\0\0\0" + formats.deflated(10**8))),
    "EXIF of 20 MB": lambda: _exif_segments(_many_fractions(Base.XResolution, 19 * 10**6)),
    "AVIF": lambda: _resized_avif(64, 64, (HUGE, HUGE)),
    "TIFF": lambda: formats.tiled_tiff((HUGE, HUGE), (256, 256)),
    "TIFF of a huge tile": lambda: formats.tiled_tiff((9, 9), (14_000, 14_000)),
    "TIFF of ten million strips": lambda: formats.tiff((273, 3, 10**7, 8)).ljust(2 * 10**7, b"\1"),
    "JPEG 2000": lambda: _resized_jpeg_2000((HUGE, HUGE), (HUGE, HUGE), (HUGE, HUGE)),
    "colour profile of 100 MB": lambda: png(10, 10, chunk(b"iCCP", b"a\0\0" + formats.deflated(10**8))),
}
"""Small files that would take gigabytes or hours: 422, before these are spent."""

LARGEST: Corpus = {
    "WebP": lambda: formats.encode(Image.new("RGBA", (8000, 8000), (1, 2, 3, 4)), "WEBP", lossless=True, method=0),
    "animated WebP": lambda: formats.animated_webp(8000, 8000, 3),
    "PNG with two channels": lambda: png(8000, 8000, colour=4),
    "interlaced PNG": lambda: png(8000, 8000, chunk(b"tRNS", bytes(6)), interlace=1),
    "16-bit RGBA PNG": lambda: png(8000, 8000, depth=16, colour=6),
    "palette GIF": lambda: formats.encode(Image.new("P", (8000, 8000)), "GIF"),
    "run-length BMP": lambda: _run_length(8000, 8000, 8000),
    "progressive CMYK JPEG": lambda: jpeg(size=(8000, 8000), mode="CMYK", progressive=True),
    "as many scans as there may be": lambda: formats.scans((8000, 8000), 40),
    "AVIF": lambda: formats.encode(
        Image.new("RGBA", (8000, 8000), (1, 2, 3, 4)), "AVIF", speed=10, subsampling="4:4:4"
    ),
    "AVIF that is larger than it claims": lambda: _resized_avif(16_000, 16_000, (64, 64)),
    "TIFF": lambda: formats.tiled_tiff((8000, 8000), (8000, 8000)),
    "JPEG 2000": lambda: formats.encode(Image.new("RGBA", (4000, 4000)), "JPEG2000", num_resolutions=1),
    "JPEG at an eighth of its scale": lambda: jpeg(size=(30_000, 30_000)),
    "JPEG without its end": lambda: jpeg(size=(8000, 8000), mode="CMYK", progressive=True)[:-2],
    "chunks of nothing": lambda: png(9, 9, chunk(b"abCd") * 1_500_000),
    "comments of nothing": lambda: formats.gif(9, 9)[:19] + b"\x21\xfe" + b"\1a" * 9_000_000 + b"\0;",
}
"""The most expensive accepted images at the default limits; the last one is refused late."""

BROKEN: Corpus = {
    **drawn_images.BROKEN,
    "PNG zero wide": lambda: png(0, 100, data=b""),
    "PNG with a wrong checksum": lambda: png(9, 9, chunk(b"gAMA", bytes(4), crc=0)),
    "PNG with a chunk of 2 GB": lambda: formats.PNG_SIGNATURE + struct.pack(">I", 2**31 - 1) + b"IHDR" + bytes(99),
    "PNG of no colour type": lambda: _patched("PNG", 25, b"\x05"),
    "PNG with data that is not compressed": lambda: png(9, 9, data=b"cat" * 99),
    "JPEG without tables": lambda: b"\xff\xd8" + segment(0xC0, b"\x08\0\x10\0\x10\1\1\x11\0") + b"\xff\xd9",
    "JPEG with a segment that ends too late": lambda: jpeg(segment(0xE5, b"cat", 60_000)),
    "JPEG with 255 components": lambda: b"\xff\xd8" + segment(0xC0, b"\x08\0\x10\0\x10\xff" + bytes(765)),
    "JPEG 2000 whose frame is larger than it claims": lambda: _resized_jpeg_2000((HUGE, HUGE), (HUGE, HUGE), (96, 96)),
    "JPEG 2000 of a billion tiles": lambda: _resized_jpeg_2000((HUGE, HUGE), (1, 1), (96, 96)),
    "TIFF without an image": lambda: formats.tiff(),
    "BMP of -2^31 rows": lambda: formats.bmp(1, -(2**31)),
    "WebP that is longer than it is": lambda: formats.riff(
        formats.webp_chunk(Image.new("RGB", (9, 9))), length=2**32 - 2
    ),
    "WebP without a picture": lambda: formats.riff(formats.canvas(9, 9, 0)),
    "GIF without a picture": lambda: formats.gif(9, 9, frames=0),
    "endless GIF": lambda: formats.gif(900, 900, MANY, b"\x02", b""),
    "GIF of one block without end": lambda: formats.gif(9, 9, 1, b"\x08" + b"\xffa" * MANY, b""),
}
"""Damaged or lying: 422, never half an image."""

TRUNCATED: Corpus = {
    f"{kind} of {percent} %": functools.partial(_cut, kind, percent) for kind in KINDS for percent in range(0, 100, 5)
}
"""Every format, cut at every twentieth of its length."""

GARBAGE: Corpus = {
    f"{kind} with {seed} bytes changed": lambda kind=kind, seed=seed: _garbled(drawn_images.noise(kind), seed)
    for kind in KINDS
    for seed in range(1, 30, 4)
}
"""Random damage."""


def _garbled(data: bytes, changes: int) -> bytes:
    garbled = np.frombuffer(data, np.uint8).copy()
    random = np.random.default_rng(changes)
    garbled[random.integers(0, len(data), changes)] = random.integers(0, 256, changes, np.uint8)
    return garbled.tobytes()

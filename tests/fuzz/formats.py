"""Image files put together by hand, so that each field can lie."""

import functools
import io
import struct
import zlib
from collections.abc import Iterable
from typing import Any

from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG colour type
MEBIBYTE = 2**20


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@functools.cache
def deflated(size: int) -> bytes:
    """So many zero bytes, compressed a thousandfold."""
    compress = zlib.compressobj(9)
    whole, rest = divmod(size, MEBIBYTE)
    parts = [compress.compress(bytes(MEBIBYTE)) for _ in range(whole)]
    return b"".join([*parts, compress.compress(bytes(rest)), compress.flush()])


def chunk(name: bytes, data: bytes = b"", crc: int | None = None) -> bytes:
    """A chunk of a PNG; by default with the checksum it should have."""
    crc = zlib.crc32(name + data) if crc is None else crc
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)


def png(
    width: int,
    height: int,
    *extra: bytes,
    depth: int = 8,
    colour: int = 2,
    interlace: int = 0,
    data: bytes | None = None,
) -> bytes:
    """A black PNG, with extra chunks before its data; ``data`` replaces the compressed rows."""
    if data is None:
        row = 1 + (width * depth * CHANNELS[colour] + 7) // 8
        data = deflated((2 if interlace else 1) * height * row)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return b"".join([PNG_SIGNATURE, chunk(b"IHDR", header), *extra, chunk(b"IDAT", data), chunk(b"IEND")])


def segment(marker: int, data: bytes, length: int | None = None) -> bytes:
    """A segment of a JPEG; by default with the length it should have."""
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2 if length is None else length) + data


def jpeg(*segments: bytes, size: tuple[int, int] = (16, 16), mode: str = "RGB", **options: Any) -> bytes:
    """A grey JPEG with extra segments at its start."""
    data = encode(Image.new(mode, size, 128 if mode == "L" else None), "JPEG", **options)
    return data[:2] + b"".join(segments) + data[2:]


def resized_jpeg(width: int, height: int, **options: Any) -> bytes:
    """A small JPEG whose header claims another size."""
    data = jpeg(**options)
    frame = data.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0") + 5
    return data[:frame] + struct.pack(">HH", height, width) + data[frame + 4 :]


def scans(size: tuple[int, int], count: int) -> bytes:
    """A progressive JPEG that repeats its last scan: a few bytes each, and each is a walk over the whole picture."""
    data = jpeg(size=size, mode="L", progressive=True, quality=50)
    end = data.rindex(b"\xff\xd9")
    last = data[data.rindex(b"\xff\xda") : end]
    return data[:end] + last * count + data[end:]


def gif(
    width: int, height: int, frames: int = 1, blocks: bytes = b"\x02\x4c\x01\x00", end: bytes = b";", flags: int = 4
) -> bytes:
    """A GIF of two colours; each frame has the same compressed blocks and flags (how to dispose of it)."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"\x21\xf9\x04" + bytes([flags, 0, 0, 0, 0]) + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + blocks
    return head + frame * frames + end


def bmp(width: int, height: int, bits: int = 24, compression: int = 0, pixels: bytes = b"", colours: int = 0) -> bytes:
    """A BMP with whatever is given for its pixels."""
    palette = bytes(4 * colours)
    offset = 54 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(pixels), 0, 0, colours, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + header + palette + pixels


def riff(*chunks: tuple[bytes, bytes], length: int | None = None) -> bytes:
    """A WebP container of named chunks; by default with the length it should have."""
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) if length is None else length) + body


def webp_chunk(image: Image.Image) -> tuple[bytes, bytes]:
    """The one chunk of a lossless WebP, its name and its data."""
    data = encode(image, "WEBP", lossless=True, method=0)
    return data[12:16], data[20 : 20 + struct.unpack("<I", data[16:20])[0]]


def canvas(width: int, height: int, flags: int) -> tuple[bytes, bytes]:
    """The WebP chunk that says how large an extended file is, and what is in it."""
    return b"VP8X", struct.pack("<I", flags) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]


def animated_webp(width: int, height: int, frames: int) -> bytes:
    """A WebP whose frames each fill the canvas with one colour, half transparent."""
    name, data = webp_chunk(Image.new("RGBA", (width, height), (1, 2, 3, 4)))
    frame = bytes(6) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3] + b"\x64\0\0\0"
    frame += name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    return riff(canvas(width, height, 0x12), (b"ANIM", bytes(6)), *[(b"ANMF", frame)] * frames)


def tiff(*entries: tuple[int, int, int, int], directory: list[tuple[int, int, int, int]] | None = None) -> bytes:
    """A TIFF with only these entries (tag, type, count, value) in its directory, and those of one at byte 400."""

    def table(some: Iterable[tuple[int, int, int, int]]) -> bytes:
        packed = [struct.pack("<HHII", *entry) for entry in some]
        return struct.pack("<H", len(packed)) + b"".join(packed) + bytes(4)

    return (b"II*\0" + struct.pack("<I", 8) + table(entries)).ljust(400, b"\0") + table(directory or [])


def tiled_tiff(size: tuple[int, int], tile: tuple[int, int]) -> bytes:
    """A grey TIFF of one compressed tile, which may be far larger than the image."""
    data = deflated(tile[0] * tile[1])
    shape = [(256, 4, 1, size[0]), (257, 4, 1, size[1]), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    tiles = [(322, 4, 1, tile[0]), (323, 4, 1, tile[1]), (324, 4, 1, 406), (325, 4, 1, len(data))]
    return tiff(*shape, *tiles) + data

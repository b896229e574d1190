"""The pictures that the service is asked about."""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}
SEPARATOR = "__"


@dataclass(frozen=True)
class Labelled:
    """A picture whose class is known."""

    label: str
    path: Path


def labelled(folder: Path, most: int) -> list[Labelled]:
    """Find labelled pictures: ``<label>/anything.jpg`` and ``<label>__anything.jpg``.

    Args:
        folder: Where to look; hidden files and names without a label are passed over.
        most: At most so many are returned, picked evenly, the same ones every time.
    """
    found = [
        Labelled(label, path)
        for path in sorted([*folder.glob("*"), *folder.glob("*/*")])
        if (label := _label(path.relative_to(folder))) and path.is_file()
    ]
    if len(found) <= most:
        return found
    return [found[i * len(found) // most] for i in range(most)]


def _label(path: Path) -> str | None:
    # A volume that Kubernetes mounts holds its files a second time, in a hidden folder.
    if path.suffix.lower() not in SUFFIXES or any(part.startswith(".") for part in path.parts):
        return None
    if len(path.parts) == 2:
        return path.parts[0]
    label, separator, _ = path.name.partition(SEPARATOR)
    return label if separator and label else None


def drawn(size: int = 64) -> bytes:
    """Draw a picture to ask about where there are no labelled ones: a colour gradient.

    Args:
        size: Its side, pixels.

    Returns:
        A PNG file. Written by hand, because the job's image has no imaging library.
    """
    rows = (bytes(v for x in range(size) for v in (4 * x % 256, 4 * y % 256, 128)) for y in range(size))
    pixels = b"".join(b"\0" + row for row in rows)
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )

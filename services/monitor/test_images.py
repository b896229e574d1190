"""The pictures that the service is asked about."""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from services.monitor.names import printable

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}
SEPARATOR = "__"
LITTER = {"__MACOSX", "lost+found"}


@dataclass(frozen=True)
class Labelled:
    """A picture whose class is known."""

    label: str
    path: Path


class TestImagesError(Exception):
    """The folder of labelled pictures is of no use; the message is one sentence that says why."""


def labelled(folder: Path, most: int) -> list[Labelled]:
    """Find labelled pictures: ``<label>/anything.jpg`` and ``<label>__anything.jpg``.

    Args:
        folder: Where to look, or the one above it, as archives unpack; hidden files and names without a label are
            passed over. An empty one is as none: Kubernetes mounts that where no pictures were given.
        most: At most so many are returned, picked evenly, the same ones every time.

    Raises:
        TestImagesError: There are files and folders but no labelled picture, or they cannot be read.
    """
    try:
        inside = _inside(folder)
        found = _find(_without_outer(inside))
    except OSError as error:
        raise TestImagesError(f"{printable(str(error.filename))} cannot be read ({error.strerror}).") from error
    if inside and not found:
        raise TestImagesError(
            f"{printable(str(folder))} has no labelled picture ({', '.join(sorted(SUFFIXES))}): "
            f"put them in a folder per class, or name them <label>{SEPARATOR}anything.jpg."
        )
    if len(found) <= most:
        return found
    return [found[i * len(found) // most] for i in range(most)]


def _inside(folder: Path) -> list[Path]:
    # A volume that Kubernetes mounts holds its files a second time, in a hidden folder.
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in LITTER)


def _without_outer(paths: list[Path]) -> list[Path]:
    folders = [path for path in paths if path.is_dir()]
    inner = _inside(folders[0]) if len(folders) == 1 else []
    if sum(path.is_dir() for path in inner) > 1:
        return [path for path in paths if path != folders[0]] + inner
    return paths


def _find(paths: list[Path]) -> list[Labelled]:
    found = []
    for path in paths:
        if path.is_dir():
            found += [Labelled(path.name, inner) for inner in _inside(path) if _is_picture(inner)]
        else:
            label, separator, _ = path.name.partition(SEPARATOR)
            if label and separator and _is_picture(path):
                found.append(Labelled(label, path))
    return found


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


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

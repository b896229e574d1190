"""The images that a check sends: labelled ones from a folder, or a generated one."""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from services.monitor.result import printable

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}
SEPARATOR = "__"
LITTER = {"__MACOSX", "lost+found"}


@dataclass(frozen=True)
class Labelled:
    """An image whose class is known."""

    label: str
    path: Path


class TestImagesError(Exception):
    """The folder has no usable labelled images; the message is one sentence with the reason."""


def labelled(folder: Path, most: int) -> list[Labelled]:
    """Find labelled images: ``<label>/anything.jpg`` and ``<label>__anything.jpg``.

    Args:
        folder: The folder, or its parent, as archives unpack. Hidden files and names without a label are skipped.
            An empty folder is valid: Kubernetes mounts one for an optional ConfigMap that does not exist.
        most: The most images to return, picked evenly and always the same.

    Raises:
        TestImagesError: The folder is unreadable, or has files but no labelled image.
    """
    try:
        entries = _entries(folder)
        found = _find(_without_outer(entries))
    except OSError as error:
        raise TestImagesError(f"{printable(str(error.filename))} cannot be read ({error.strerror}).") from error
    if entries and not found:
        raise TestImagesError(
            f"{printable(str(folder))} has no labelled image ({', '.join(sorted(SUFFIXES))}): "
            f"put them in a folder per class, or name them <label>{SEPARATOR}anything.jpg."
        )
    if len(found) <= most:
        return found
    return [found[i * len(found) // most] for i in range(most)]


def _entries(folder: Path) -> list[Path]:
    # Hidden: a ConfigMap volume holds its files a second time in the folder ..data.
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in LITTER)


def _without_outer(paths: list[Path]) -> list[Path]:
    folders = [path for path in paths if path.is_dir()]
    inner = _entries(folders[0]) if len(folders) == 1 else []
    if sum(path.is_dir() for path in inner) > 1:
        return [path for path in paths if path != folders[0]] + inner
    return paths


def _find(paths: list[Path]) -> list[Labelled]:
    found = []
    for path in paths:
        if path.is_dir():
            found += [Labelled(path.name, inner) for inner in _entries(path) if _is_image(inner)]
        else:
            label, separator, _ = path.name.partition(SEPARATOR)
            if label and separator and _is_image(path):
                found.append(Labelled(label, path))
    return found


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def generate(size: int = 64) -> bytes:
    """Generate a PNG with a colour gradient, ``size`` pixels wide and high, without an imaging library."""
    rows = (bytes(v for x in range(size) for v in (4 * x % 256, 4 * y % 256, 128)) for y in range(size))
    pixels = b"".join(b"\0" + row for row in rows)
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )

"""The images that a check sends: labelled ones from a folder, or a generated one."""

import errno
import json
import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from services.monitor.result import class_name, printable

# A file is an image by its first bytes, as in the service: browsers save JPEGs as .jfif, and phones rename files.
SIGNATURES = re.compile(
    rb"\xff\xd8\xff|\x89PNG|RIFF.{4}WEBP|GIF8|BM.{4}\0\0\0\0|II\*\0|MM\0\*|.{4}ftypavi[fs]|.{4}jP  |\xff\x4f\xff\x51",
    re.DOTALL,
)
# By its name, a damaged image counts too: the service then gives the reason.
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}
SEPARATOR = "__"
# JSON: the labels of files that are called <code>__anything, by code; `make labelled-images` writes it.
LABEL_NAMES = "label-names.json"
LITTER = {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "lost+found", "$recycle.bin", "system volume information"}
SHOWN = 3


@dataclass(frozen=True)
class Labelled:
    """An image whose class is known."""

    label: str
    path: Path


@dataclass(frozen=True)
class Found:
    """The labelled images of a folder, the files in it that are none, and the labels without an image."""

    images: list[Labelled]
    passed_over: list[Path]
    empty: list[str]

    def pick(self, most: int) -> list[Labelled]:
        """Pick at most so many images, evenly and always the same."""
        if len(self.images) <= most:
            return self.images
        return [self.images[i * len(self.images) // most] for i in range(most)]

    def notes(self) -> list[str]:
        """Return a sentence about the files passed over, if there are any."""
        if not self.passed_over:
            return []
        shown = ", ".join(f"{path.parent.name}/{path.name}" for path in self.passed_over[:SHOWN])
        more = ", …" * (len(self.passed_over) > SHOWN)
        return [f"{len(self.passed_over)} passed over, not an image or without a label ({printable(shown)}{more})."]


class TestImagesError(Exception):
    """The folder has no usable labelled images; the message is one sentence with the reason."""


def labelled(folder: Path) -> Found:
    """Find labelled images: below a folder per class, and files called ``<label>__anything.jpg``.

    Args:
        folder: The folder, or its parent, as archives unpack. Hidden files and those of operating systems are ignored.
            An empty folder is valid: Kubernetes mounts one for an optional ConfigMap that does not exist.

    Raises:
        TestImagesError: The folder is unreadable, or has files but no labelled image.
    """
    try:
        entries = _entries(folder)
        found = _find(_without_outer(entries), _label_names(folder))
    except OSError as error:
        raise TestImagesError(f"{printable(str(error.filename))} cannot be read ({error.strerror}).") from error
    if entries and not found.images:
        raise TestImagesError(
            f"{printable(str(folder))} has no labelled image: put images in a folder per class, "
            f"or name them <label>{SEPARATOR}anything.jpg."
        )
    return found


def _visible(name: str) -> bool:
    # Hidden: a ConfigMap volume holds its files a second time in the folder ..data.
    return not name.startswith(".") and name.lower() not in LITTER


def _entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _visible(path.name) and path.name != LABEL_NAMES)


def _without_outer(paths: list[Path]) -> list[Path]:
    folders = [path for path in paths if path.is_dir()]
    inner = _entries(folders[0]) if len(folders) == 1 else []
    if sum(path.is_dir() for path in inner) > 1:
        return [path for path in paths if path != folders[0]] + inner
    return paths


def _label_names(folder: Path) -> dict[str, str]:
    path = folder / LABEL_NAMES
    try:
        names = json.loads(path.read_bytes())
        return {str(code): str(label) for code, label in names.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as error:
        raise TestImagesError(f"{printable(str(path))} is damaged ({error}).") from error


def _find(paths: list[Path], names: dict[str, str]) -> Found:
    images, passed_over, empty = [], [], []
    for path in paths:
        if path.is_dir():
            files = list(_files(path))
            own = [Labelled(path.name, file) for file in files if _is_image(file)]
            passed_over += sorted(set(files) - {image.path for image in own})
            images += own
            if not own:
                empty.append(path.name)
        else:
            label, separator, _ = path.name.partition(SEPARATOR)
            has_label = bool(label and separator)
            if has_label and _is_image(path):
                images.append(Labelled(names.get(label, label), path))
            elif has_label or (_is_file(path) and _begins_as_image(path)):
                passed_over.append(path)
    with_images = {class_name(image.label) for image in images}
    return Found(images, passed_over, [label for label in empty if class_name(label) not in with_images])


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, by name; links are followed, but no folder is entered twice."""
    seen = set()
    for here, folders, files in os.walk(folder, onerror=_fail, followlinks=True):
        status = Path(here).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(filter(_visible, folders))
        yield from (Path(here, name) for name in sorted(files) if _visible(name))


def _fail(error: OSError) -> NoReturn:
    raise error


def _is_image(path: Path) -> bool:
    return _is_file(path) and (path.suffix.lower() in SUFFIXES or _begins_as_image(path))


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)  # opening a pipe would block
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):  # a link to nothing, or to itself
            return False
        raise


def _begins_as_image(path: Path) -> bool:
    with path.open("rb") as file:
        return bool(SIGNATURES.match(file.read(16)))


def generate(size: int = 64) -> bytes:
    """Generate a PNG with a colour gradient, ``size`` pixels wide and high, without an imaging library."""
    rows = (bytes(v for x in range(size) for v in (4 * x % 256, 4 * y % 256, 128)) for y in range(size))
    pixels = b"".join(b"\0" + row for row in rows)
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )

"""Walk a folder and read the images in it, for scanning and for predicting."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bundle.preprocess import ImageError, Resize, UnsupportedImageError, decode
from ml.data.dataset import Reason

LITTER = {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "lost+found", "$recycle.bin", "system volume information"}
# Far above any photo: a film or a disk image among the images must not fill the memory.
MAX_FILE_BYTES = 256 * 2**20


class UnusableError(Exception):
    """The file is not a usable image."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def is_ignored(name: str) -> bool:
    """Check for a hidden file, or one that operating systems leave behind (``Thumbs.db`` and the like)."""
    return name.startswith(".") or name.lower() in LITTER


def walk(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Yield every file below a folder with None, and every unreadable folder with the reason.

    The order is stable: a folder's files by name, then its folders by name. Links are followed, but no folder is
    entered twice. Memory holds only the names in the folders on the way.
    """
    waiting, seen = [folder], set()
    while waiting:
        here = waiting.pop()
        files: list[str] = []
        folders: list[str] = []
        try:
            status = here.stat()
            # A link to a folder above would never end.
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(here) as entries:
                for entry in entries:
                    if not is_ignored(entry.name):
                        (folders if is_folder(entry) else files).append(entry.name)
        except OSError as error:
            yield here, error.strerror or str(error)
            continue
        for name in sorted(files):
            yield here / name, None
        waiting += [here / name for name in sorted(folders, reverse=True)]


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Check for a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def load(path: Path, size: int, resize: Resize) -> tuple[bytes, NDArray[np.uint8]]:
    """Read an image file as the service reads an upload.

    Returns:
        The file's bytes, and the pixels from ``bundle.preprocess.decode``, shape ``(size, size, 3)``.

    Raises:
        UnusableError: The file cannot be read, or the service would refuse it.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would block forever
            raise UnusableError("unreadable", "not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise UnusableError("not an image", f"{status.st_size:,} bytes, more than {MAX_FILE_BYTES:,}")
        data = path.read_bytes()
    except OSError as error:
        raise UnusableError("unreadable", error.strerror or str(error)) from error
    if not data:
        raise UnusableError("empty", "0 bytes")
    try:
        return data, decode(data, size, resize)
    except UnsupportedImageError as error:
        raise UnusableError("not an image", str(error)) from None
    except ImageError as error:
        # The service's message advises the sender; the decoder's own says more here.
        raise UnusableError("truncated or damaged", str(error.__cause__ or error)) from error

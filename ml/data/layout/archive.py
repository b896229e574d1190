"""Unpack a zip archive of images once, and find it unpacked the next time."""

import hashlib
from pathlib import Path

from ml.data.dataset import DataError
from ml.data.folder import Description, new_folder, read_description, slug
from ml.data.unpack import unpack

UNPACKED = Path("runs/unpacked")


def unpack_once(archive: Path, progress: bool) -> tuple[Path, tuple[str, ...]]:
    """Unpack an archive below ``runs/unpacked``, in a folder named by its content.

    Returns:
        The folder, and the names of damaged members if it was unpacked now.

    Raises:
        DataError: The archive cannot be read or unpacked.
    """
    try:
        with archive.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{archive} cannot be read ({error.strerror}).") from error
    folder = UNPACKED / f"{slug(archive.stem)}-{sha256[:16]}"
    description = Description(name=slug(archive.stem), source=f"file:{archive.name}", sha256=sha256)
    if read_description(folder):
        return folder, ()
    try:
        with new_folder(folder, description) as work:
            damaged = unpack(archive, work, progress=progress)
    except DataError as error:
        if read_description(folder):  # another process of the same training was faster
            return folder, ()
        raise DataError(f"{archive}: {error}") from error
    return folder, tuple(damaged)

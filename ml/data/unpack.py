"""Unpack an untrusted zip archive: nothing is written outside the folder, and nothing fills the disk.

pooch would unpack with ``extractall``, which rewrites a hostile path, fills the disk and stops at a damaged member.
"""

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PureWindowsPath

from tqdm import tqdm

from ml.data.dataset import DataError

MAX_BYTES = 20_000_000_000
FILE_TYPES = (0, stat.S_IFREG, stat.S_IFDIR)  # 0: written on a system without Unix modes
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class ArchiveError(DataError):
    """The archive is not a zip file, or is unsafe to unpack."""


def unpack(archive: Path, folder: Path, max_bytes: int = MAX_BYTES, progress: bool = True) -> list[str]:
    """Check every member of a zip archive, then unpack it.

    Args:
        archive: The zip file.
        folder: Exists and is empty.
        max_bytes: Limit of the unpacked size.
        progress: Show a progress bar on standard error.

    Returns:
        Names of damaged members, which were left out.

    Raises:
        ArchiveError: Not a zip archive; or a member is encrypted, is a link, or would be written outside the folder.
        DataError: The members exceed ``max_bytes`` or the free space.
        OSError: The disk fails.
    """
    try:
        opened = zipfile.ZipFile(archive)
    except OSError:
        raise
    except Exception as error:  # zipfile raises errors of many kinds on hostile bytes
        raise ArchiveError(f"The archive is not a whole zip file ({error}).") from error
    with opened:
        members = opened.infolist()
        for member in members:
            _check(member)
        total = sum(member.file_size for member in members)
        if total > max_bytes:
            raise DataError(f"The archive would unpack to {total:,} bytes, more than --max-bytes {max_bytes:,}.")
        if total > (free := shutil.disk_usage(folder).free):
            raise DataError(f"The archive unpacks to {total:,} bytes, but the disk has {free:,} free: make room.")
        damaged = []
        with tqdm(desc="unpack", total=total, unit="B", unit_scale=True, disable=not progress) as bar:
            for member in members:
                if not _extract(opened, member, folder):
                    damaged.append(member.filename)
                bar.update(member.file_size)
    return damaged


def _check(member: zipfile.ZipInfo) -> None:
    # Windows' rules on every system: they know both slashes and drive letters.
    path = PureWindowsPath(member.filename)
    if path.drive or path.root or ".." in path.parts or not path.parts:
        fault = "would be written outside the folder"
    elif stat.S_IFMT(member.external_attr >> 16) not in FILE_TYPES:
        fault = "is a link or a device, not a file"
    elif member.flag_bits & 0x1:
        fault = "is encrypted"
    elif member.compress_type not in COMPRESSIONS:
        fault = f"has an unsupported compression (method {member.compress_type})"
    else:
        return
    raise ArchiveError(f"The archive is refused, nothing was unpacked: its member {member.filename!r} {fault}.")


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> bool:
    """Write one member; zipfile never yields more bytes than the member declares."""
    target = folder.joinpath(*PureWindowsPath(member.filename).parts)
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return True
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with opened.open(member) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy)
    except (zipfile.BadZipFile, zlib.error, EOFError):
        target.unlink(missing_ok=True)
        return False
    return True

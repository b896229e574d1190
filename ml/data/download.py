"""Download a zip archive and unpack it to a folder of classes."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from urllib.request import url2pathname

from ml.data.dataset import DataError
from ml.data.fetch import fetch, forget
from ml.data.folder import Description, new_folder, read_description, require_free, slug
from ml.data.unpack import MAX_BYTES, ArchiveError, unpack

CATS_AND_DOGS = (
    "https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/kagglecatsanddogs_5340.zip"
)


@dataclass(frozen=True)
class Download:
    """A downloaded archive."""

    sha256: str
    damaged: tuple[str, ...]  # members that were left out
    was_there: bool


def download(
    url: str, to: Path, sha256: str | None = None, max_bytes: int = MAX_BYTES, progress: bool = True
) -> Download:
    """Unpack an archive to a new folder, with a ``dataset.json`` that names its source.

    The next call resumes an interrupted download. If ``to`` holds this very data set, nothing is done.

    Args:
        url: An https:, http: or file: address of a zip archive.
        to: The folder to make.
        sha256: Expected hash of the archive, in hexadecimal.
        max_bytes: Limit of the unpacked size.
        progress: Show progress bars on standard error.

    Raises:
        DataError: The archive cannot be had or unpacked; ``to`` is unchanged.
    """
    sha256 = sha256 and sha256.strip().lower()
    address, local = _parse(url)
    to = to.resolve()
    there = read_description(to)
    if there and there.source == address and there.sha256 and sha256 in (None, there.sha256):
        return Download(there.sha256, (), was_there=True)
    require_free(to)
    part = to.with_name(to.name + ".zip.part")
    if not local:
        fetch(url, address, part, progress)
    archive = local or part
    try:
        found = _sha256(archive)
        if sha256 and found != sha256:
            raise ArchiveError(f"{address} has the SHA-256 {found}, not {sha256}: it is another file.")
        with new_folder(to, Description(name=slug(to.name), source=address, sha256=found)) as folder:
            damaged = unpack(archive, folder, max_bytes, progress)
    except ArchiveError:
        if not local:
            # Resumed, it would fail again and again.
            forget(part)
        raise
    forget(part)
    return Download(found, tuple(damaged), was_there=False)


def _parse(url: str) -> tuple[str, Path | None]:
    """Return the address without password, signed query or local folders, and the path of a local file."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise DataError(f"{url} is not an address to download from ({error}).") from error
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise DataError(f"{url} names the machine {parts.netloc}: a file: address has three slashes, file:///….")
        path = Path(url2pathname(parts.path))
        return f"file:{path.name}", path
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DataError(f"{url} is not an address to download from: use one that starts with https:, http: or file:.")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")), None


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error

"""From the address of a zip archive to a folder of classes."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from urllib.request import url2pathname

from tqdm import tqdm

from ml.data.dataset import DataError
from ml.data.fetch import fetch, forget
from ml.data.folder import Description, new_folder, read_description, require_free, slug
from ml.data.unpack import MAX_BYTES, ArchiveError, unpack

CATS_AND_DOGS = (
    "https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/kagglecatsanddogs_5340.zip"
)


@dataclass(frozen=True)
class Download:
    """What came."""

    sha256: str
    damaged: tuple[str, ...]  # members of the archive that were left out
    was_there: bool


def download(
    url: str, to: Path, sha256: str | None = None, max_bytes: int = MAX_BYTES, progress: bool = True
) -> Download:
    """Fetch an archive and unpack it to a new folder, with a ``dataset.json`` that says where it is from.

    An interrupted download is taken up again by the next call. If ``to`` holds this very data set, nothing is done.

    Args:
        url: An https:, http: or file: address of a zip archive.
        to: The folder to make.
        sha256: What the archive's hash must be, in hexadecimal.
        max_bytes: What the archive may take unpacked.
        progress: Show progress bars on standard error.

    Raises:
        DataError: It did not work; ``to`` is as it was before.
    """
    sha256 = sha256 and sha256.strip().lower()
    address = _public(url)
    to = to.resolve()
    there = read_description(to)
    if there and there.source == address and there.sha256 and sha256 in (None, there.sha256):
        return Download(there.sha256, (), was_there=True)
    require_free(to)
    part = to.with_name(to.name + ".zip.part")
    if local := _local(url):
        archive = local
    else:
        archive = part
        fetch(url, address, part, progress)
    try:
        found = _sha256(archive, progress)
        if sha256 and found != sha256:
            raise ArchiveError(f"{address} has the SHA-256 {found}, not {sha256}: it is not the file you meant.")
        with new_folder(to, Description(name=slug(to.name), source=address, sha256=found)) as folder:
            damaged = unpack(archive, folder, max_bytes, progress)
    except ArchiveError:
        if not local:
            # Taken up again, it would fail for ever.
            forget(part)
        raise
    forget(part)
    return Download(found, tuple(damaged), was_there=False)


def _public(url: str) -> str:
    """The address as it may be published: without a password, a signed query or this machine's folders."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise DataError(f"{url} is no address to download from ({error}).") from error
    if parts.scheme == "file":
        return f"file:{Path(url2pathname(parts.path)).name}"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DataError(f"{url} is no address to download from: give one that starts with https:, http: or file:.")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _local(url: str) -> Path | None:
    parts = urlsplit(url)
    if parts.scheme != "file":
        return None
    if parts.netloc not in ("", "localhost"):
        raise DataError(f"{url} names the machine {parts.netloc}: a file: address has three slashes, file:///….")
    return Path(url2pathname(parts.path))


def _sha256(path: Path, progress: bool) -> str:
    digest = hashlib.sha256()
    try:
        with (
            path.open("rb") as file,
            tqdm(desc="SHA-256", total=path.stat().st_size, unit="B", unit_scale=True, disable=not progress) as bar,
        ):
            while piece := file.read(2**20):
                digest.update(piece)
                bar.update(len(piece))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error
    return digest.hexdigest()

"""Read the files of a bundle, or say in one sentence why it cannot be served."""

from pathlib import Path


class BundleError(Exception):
    """The bundle cannot be served; the message is one sentence that names the file and the reason."""


def read(path: Path) -> bytes:
    """Read a file; raises ``BundleError`` if it is missing or unreadable."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}).") from error

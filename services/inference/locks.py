"""Locks between the processes of a service: the system takes a file's from one that dies, and a semaphore's not."""

import tempfile
from pathlib import Path


def file() -> int:
    """Open a file without a name, for ``fcntl.lockf``; whoever is forked after that shares its locks.

    Returns:
        Its descriptor, open until the process ends; a file object of Python's would warn of that.
    """
    descriptor, path = tempfile.mkstemp()
    Path(path).unlink()
    return descriptor

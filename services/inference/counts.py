"""The files that workers count in, safe from a full disk.

prometheus_client maps its files into memory without having their space: the first write to a disk that is full ends
the process (SIGBUS). Here the space is taken first. Where there is none, the worker counts for itself alone: it serves,
but what it counts is not in /metrics.
"""

import contextlib
import errno
import logging
import mmap
import os
from pathlib import Path
from typing import Any

from prometheus_client import mmap_dict, values

ENTRY = 64  # bytes that an entry takes beside its key, at most

log = logging.getLogger(__name__)


class Counts(mmap_dict.MmapedDict):
    """One file of one worker."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        try:
            with Path(filename).open("a+b") as file:
                os.posix_fallocate(file.fileno(), 0, mmap_dict._INITIAL_MMAP_SIZE)
        except OSError as error:
            _explain(filename, error)
            with contextlib.suppress(OSError):
                Path(filename).unlink()  # an empty one would spoil every scrape
            # A file without a disk, which the library opens like any other.
            memory = os.memfd_create("counts")
            super().__init__(f"/proc/self/fd/{memory}")
            os.close(memory)
        else:
            super().__init__(filename, read_mode)

    def _init_value(self, key: str) -> None:
        if self._used + len(key.encode()) + ENTRY > self._capacity:
            try:
                os.posix_fallocate(self._f.fileno(), 0, 2 * self._capacity)
            except OSError as error:
                _explain(self._fname, error)
                self._leave_disk()
        super()._init_value(key)

    def _leave_disk(self) -> None:
        memory = os.fdopen(os.memfd_create("counts"), "r+b")
        memory.write(self._m[:])
        memory.flush()
        self._f.close()
        self._f, self._m = memory, mmap.mmap(memory.fileno(), self._capacity)


def use() -> None:
    """Have prometheus_client count in such files; before the first counter is made."""
    if hasattr(os, "posix_fallocate") and hasattr(os, "memfd_create"):  # Linux
        library: Any = values
        library.MmapedDict = Counts


def _explain(filename: str, error: OSError) -> None:
    log.error(
        "%s cannot be written (%s): this worker serves, but what it counts is missing in /metrics until the folder has "
        "room and the service gets SIGHUP.",
        filename,
        os.strerror(error.errno or errno.EIO),
    )

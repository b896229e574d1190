"""Write files atomically."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def whole_file(path: Path, shared: bool = False) -> Iterator[BinaryIO]:
    """Write a file that replaces ``path`` when the block ends, and leaves ``path`` alone if the block fails.

    The bytes are on the disk before the file gets its name, so a crash leaves the old file or the new one. Other
    processes may write a ``shared`` file at the same time.
    """
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp" if shared else f"{path.name}.tmp")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)

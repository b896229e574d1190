"""Results on disk until MLflow has them: one JSON file each, in the order of time."""

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from services.monitor.result import Result

STALE = 3600
WAIT = 0.05


class SpoolError(Exception):
    """The folder cannot be written to; the message names it and says why."""


class Spool:
    """A folder of results."""

    def __init__(self, folder: Path) -> None:
        """Use ``folder``, which is made when the first result is kept."""
        self.folder = folder

    def keep(self, result: Result) -> Path:
        """Write a result so that it is there whole or not at all, even if the power fails.

        Raises:
            SpoolError: The folder or the file cannot be written.
        """
        # The name sorts by time.
        path = self.folder / f"{result.ended:015d}-{result.result_id}.json"
        temporary = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.folder, suffix=".tmp", delete=False) as file:
                temporary = Path(file.name)
                file.write(result.model_dump_json())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            self._sync_folder()
        except OSError as error:
            if temporary:
                temporary.unlink(missing_ok=True)
            raise SpoolError(f"SPOOL_DIR={self.folder} cannot be written to ({error.strerror}).") from error
        return path

    def waiting(self) -> list[Path]:
        """The files of results that were not sent yet, oldest first."""
        return sorted(self.folder.glob("*.json"))

    def read(self, path: Path) -> Result | None:
        """Read a result; None if the file is damaged."""
        try:
            return Result.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            return None

    def set_aside(self, path: Path, why: str) -> str:
        """Rename a file so that it is not read again; a sentence says what happened."""
        aside = path.with_name(f"{path.name}.{why}")
        path.replace(aside)
        return f"{path.name} in SPOOL_DIR is {why}: set aside as {aside.name}."

    def half_written(self) -> list[Path]:
        """What runs that were cut off while writing left behind."""
        before = time.time() - STALE
        return [p for p in sorted(self.folder.glob("*.tmp")) if p.stat().st_mtime < before]

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other runs from sending the same files meanwhile; waits for them, in slices a signal can end."""
        with (self.folder / ".lock").open("w") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(WAIT)
            yield

    def _sync_folder(self) -> None:
        # The rename itself is on the disk only when the folder is.
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

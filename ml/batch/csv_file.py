"""The CSV file of predictions (RFC 4180). It grows by whole rows, so an interrupted run can be resumed."""

import contextlib
import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Self

from bundle.manifest import Manifest
from ml.errors import UserError

END = b"\r\n"
# Far above any row; a foreign file may have no line ends at all.
MAX_ROW_BYTES = 2**20


class CsvFileError(UserError):
    """The CSV file cannot be resumed or written."""


def columns(classes: Sequence[str]) -> list[str]:
    """Name the columns."""
    probabilities = [f"probability_{name}" for name in classes]
    return ["path", "label", "confidence", "uncertain", *probabilities, "error", "model", "version"]


def text(path: Path) -> str:
    r"""Format a path for the file: forward slashes, and an undecodable byte as ``\udc`` and two digits."""
    return path.as_posix().encode(errors="backslashreplace").decode()


def encode(rows: Iterable[Sequence[object]]) -> bytes:
    """Encode rows as CSV."""
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue().encode()


class CsvFile:
    """The predictions of one model, open for appending.

    Attributes:
        rows: Number of rows.
        errors: Number of rows with an error instead of a prediction.
    """

    def __init__(self, path: Path, manifest: Manifest, overwrite: bool = False) -> None:
        """Create or resume the file; an unfinished last row is cut off.

        Args:
            path: The CSV file.
            manifest: The model's manifest.
            overwrite: Discard an earlier file.

        Raises:
            CsvFileError: Another model, another command or a run in progress owns the file, or the disk fails.
        """
        self.path = path
        self.rows = self.errors = 0
        self._model = [manifest.name, manifest.version]
        self._columns = columns(manifest.classes)
        with contextlib.ExitStack() as stack, self._readable_errors():
            # Unbuffered, so that written rows survive a kill.
            self._file = stack.enter_context(path.open("ab", buffering=0))
            self._lock()
            end = 0 if overwrite else self._count()
            self._file.truncate(end)
            if not end:
                self._write(encode([self._columns]))
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def append(self, encoded: bytes, rows: int, errors: int) -> None:
        """Write encoded rows.

        Args:
            encoded: The rows, from ``encode``.
            rows: Number of rows.
            errors: Number of rows with an error.

        Raises:
            CsvFileError: The disk fails.
        """
        with self._readable_errors():
            self._write(encoded)
        self.rows += rows
        self.errors += errors

    def _write(self, encoded: bytes) -> None:
        left = memoryview(encoded)
        while left:  # a nearly full disk accepts a part
            left = left[self._file.write(left) :]

    @contextlib.contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CsvFileError(
                f"{self.path} cannot be written ({error.strerror or error}): fix that and run the same command to "
                "resume after the last row, or choose another --out."
            ) from error

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # on Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CsvFileError(f"{self.path} is being written by another run: wait for it, or end it.") from None

    def _count(self) -> int:
        """Check and count the rows; return the end of the last whole row in bytes."""
        foreign = CsvFileError(
            f"{self.path} was not written by this command, or with another model's classes: choose another --out, or "
            "replace it with --overwrite."
        )
        with self.path.open("rb") as file:
            rows = _rows(file)
            try:
                end, header = next(rows, (0, None))
                if header is None and encode([self._columns]).startswith(self.path.read_bytes()[:MAX_ROW_BYTES]):
                    return 0
                if header != self._columns:
                    raise foreign
                for end, row in rows:  # noqa: B007
                    self._check(row, foreign)
            except (csv.Error, ValueError) as error:
                raise foreign from error
        return end

    def _check(self, row: list[str], foreign: CsvFileError) -> None:
        if len(row) != len(self._columns):
            raise foreign
        *_, error, name, version = row
        if [name, version] != self._model:
            raise CsvFileError(
                f"{self.path} has predictions of {name} {version}, but the model is {' '.join(self._model)}: choose "
                "another --out, or replace it with --overwrite."
            )
        self.rows += 1
        self.errors += bool(error)


class WrittenPaths:
    """The paths that have a row already.

    As long as paths are looked up in the order of the rows, as in a resumed run, none is kept in memory.
    """

    def __init__(self, path: Path) -> None:
        """Start to read a file that ``CsvFile`` has opened."""
        self._paths = _paths(path)
        self._next = next(self._paths, None)
        self._others: set[str] | None = None

    def __contains__(self, path: str) -> bool:
        if self._others is None:
            if path == self._next:
                self._next = next(self._paths, None)
                return True
            # Before new rows are written.
            self._others = {self._next, *self._paths} if self._next is not None else set()
        return path in self._others


def _paths(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        rows = _rows(file)
        next(rows)
        for _, row in rows:
            yield row[0]


def _rows(file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Yield the end of each whole row in bytes, and the row; an unfinished last row is left out.

    Raises:
        ValueError: The file is not text, or has no line ends.
        csv.Error: The file is not CSV.
    """
    record, end = b"", 0
    while line := file.readline(MAX_ROW_BYTES):
        record += line
        if len(record) > MAX_ROW_BYTES:
            raise ValueError("too long for a row")
        # A path with line ends is quoted, and quotes come in pairs.
        if record.endswith(END) and record.count(b'"') % 2 == 0:
            end += len(record)
            yield end, next(csv.reader([record.decode()], strict=True))
            record = b""

"""The file of scores: CSV (RFC 4180) that grows by whole rows only, so that a run may end anywhere and go on."""

import contextlib
import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Self

from bundle.manifest import Manifest
from ml.errors import UserError

END = b"\r\n"
# Far above any row; a file that is not of this command may have no line ends at all.
MAX_ROW_BYTES = 2**20


class ScoresError(UserError):
    """The file cannot be gone on with; the message is one sentence that says what to do."""


def columns(classes: Sequence[str]) -> list[str]:
    """The names of the columns."""
    probabilities = [f"probability_{name}" for name in classes]
    return ["path", "label", "confidence", "uncertain", *probabilities, "error", "model", "version"]


def text(path: Path) -> str:
    r"""A path as the file has it: with forward slashes, and a byte that is no UTF-8 as ``\udc`` and its two digits."""
    return path.as_posix().encode(errors="backslashreplace").decode()


def encode(rows: Iterable[Sequence[object]]) -> bytes:
    """Rows of the columns as they are written."""
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue().encode()


class Scores:
    """A file of one model's scores, open for more.

    Attributes:
        rows: How many it has.
        errors: How many of them say why a file has no scores.
    """

    def __init__(self, path: Path, manifest: Manifest, overwrite: bool = False) -> None:
        """Begin the file, or go on with it; a last row that was not finished is cut off.

        Args:
            path: Of the file.
            manifest: Of the model that scores.
            overwrite: Forget what is in the file.

        Raises:
            ScoresError: It is of another model or not of this command, another run writes it, or the disk refuses.
        """
        self.path = path
        self.rows = self.errors = 0
        self._model = [manifest.name, manifest.version]
        self._columns = columns(manifest.classes)
        with contextlib.ExitStack() as stack, self._sentences():
            # Unbuffered: what is written is out of this process, whatever ends it.
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
        """Write rows, as ``encode`` gives them, with how many they are and how many of them are errors.

        Raises:
            ScoresError: The disk refuses.
        """
        with self._sentences():
            self._write(encoded)
        self.rows += rows
        self.errors += errors

    def _write(self, encoded: bytes) -> None:
        left = memoryview(encoded)
        while left:  # a disk that is getting full takes a part
            left = left[self._file.write(left) :]

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ScoresError(
                f"{self.path} cannot be written ({error.strerror or error}): mend that and run the same again, which "
                "goes on after the last row; or choose another --out."
            ) from error

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # on Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ScoresError(f"{self.path} is being written by another run: wait for it, or end it.") from None

    def _count(self) -> int:
        """Check and count the rows; gives where the last whole one ends."""
        strange = ScoresError(
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
                    raise strange
                for end, row in rows:  # noqa: B007
                    self._check(row, strange)
            except (csv.Error, ValueError) as error:
                raise strange from error
        return end

    def _check(self, row: list[str], strange: ScoresError) -> None:
        if len(row) != len(self._columns):
            raise strange
        *_, error, name, version = row
        if [name, version] != self._model:
            raise ScoresError(
                f"{self.path} has scores of {name} {version}, but the model is {' '.join(self._model)}: choose another "
                "--out, or replace it with --overwrite."
            )
        self.rows += 1
        self.errors += bool(error)


class Done:
    """The paths that have a row already.

    Asked about in the order of the rows, as a run that goes on does, it keeps none of them in memory.
    """

    def __init__(self, path: Path) -> None:
        """Begin to read a file that ``Scores`` has opened."""
        self._paths = _paths(path)
        self._next = next(self._paths, None)
        self._others: set[str] | None = None

    def __contains__(self, path: str) -> bool:
        if self._others is None:
            if path == self._next:
                self._next = next(self._paths, None)
                return True
            # All at once, before anything new is written.
            self._others = {self._next, *self._paths} if self._next is not None else set()
        return path in self._others


def _paths(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        rows = _rows(file)
        next(rows)
        for _, row in rows:
            yield row[0]


def _rows(file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Give each whole row with the place where it ends; a last one that was not finished is left out.

    Raises:
        ValueError: It is not text, or has no ends of lines.
        csv.Error: It is not CSV.
    """
    record, end = b"", 0
    while line := file.readline(MAX_ROW_BYTES):
        record += line
        if len(record) > MAX_ROW_BYTES:
            raise ValueError("too long for a row")
        # A path may hold ends of lines; it is in quotes then, and quotes come in pairs.
        if record.endswith(END) and record.count(b'"') % 2 == 0:
            end += len(record)
            yield end, next(csv.reader([record.decode()], strict=True))
            record = b""

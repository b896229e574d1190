"""Resuming the CSV file: no wrong row is read from it, and no whole row is lost."""

import csv
import os
import resource
from pathlib import Path

import pytest

from bundle.manifest import Manifest
from ml.batch.csv_file import CsvFile, CsvFileError, WrittenPaths, columns, encode, text
from tests import bundles
from tests.ml import NOT_TEXT

MANIFEST = Manifest.model_validate(bundles.manifest_for(b"", bundles.CLASSES, 32))
HEADER = columns(bundles.CLASSES)
PATHS = [
    "a/1.jpg",
    'b/"quoted", with a comma.jpg',
    "b/two\nlines\r\n.jpg",
    "c/größe 🐈.jpg",
    text(Path(f"c/{NOT_TEXT}")),
]


def row(path: str, error: str = "") -> list[str]:
    numbers = ["red", "0.900000", "false", "0.900000", "0.050000", "0.050000"] if not error else [""] * 6
    return [path, *numbers, error, "colours", "1"]


ROWS = [*map(row, PATHS), row("d/bad.jpg", "truncated or damaged: 3 bytes are missing")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scores.csv"


def write(path: Path, rows: list[list[str]] = ROWS) -> bytes:
    with CsvFile(path, MANIFEST) as csv_file:
        for one in rows:
            csv_file.append(encode([one]), 1, int(bool(one[-3])))
    return path.read_bytes()


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, strict=True))


def test_rows_are_read_by_any_csv_reader(path: Path) -> None:
    write(path)
    assert read(path) == [HEADER, *ROWS]
    by_name = dict(zip(HEADER, ROWS[0], strict=True))
    assert (by_name["path"], by_name["probability_green"], by_name["version"]) == ("a/1.jpg", "0.050000", "1")


def test_file_cut_at_any_byte_resumes_to_the_same_bytes(path: Path) -> None:
    whole = write(path)
    ends = [len(encode([HEADER, *ROWS[:count]])) for count in range(len(ROWS) + 1)]
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        kept = max(0, sum(end <= length for end in ends) - 1)
        with CsvFile(path, MANIFEST) as csv_file:
            assert csv_file.rows == kept, length
            assert path.read_bytes() == whole[: ends[kept]]
            written = WrittenPaths(path)
            left = [one for one in ROWS if one[0] not in written]
            assert left == ROWS[kept:]
            csv_file.append(encode(left), len(left), 1)
        assert path.read_bytes() == whole
        assert (csv_file.rows, csv_file.errors) == (len(ROWS), 1)


@pytest.mark.parametrize(
    "paths",
    [
        [PATHS[0], "a/2 is new.jpg", *PATHS[1:], "z is new.jpg"],
        ["0 is new.jpg", *PATHS],
        [*PATHS[2:], "z is new.jpg"],
        PATHS[::-1],
        [],
    ],
    ids=["new between", "new before", "some gone", "another order", "all gone"],
)
def test_new_paths_have_no_row(path: Path, paths: list[str]) -> None:
    write(path)
    written = WrittenPaths(path)
    assert [one for one in paths if one not in written] == [one for one in paths if "new" in one]


def test_another_model_is_refused_unless_overwritten(path: Path) -> None:
    whole = write(path)
    newer = MANIFEST.model_copy(update={"version": "2"})
    with pytest.raises(CsvFileError, match=r"of colours 1, but the model is colours 2: .*--overwrite\."):
        CsvFile(path, newer)
    assert path.read_bytes() == whole
    with CsvFile(path, newer, overwrite=True) as csv_file:
        assert (csv_file.rows, csv_file.errors) == (0, 0)
    assert read(path) == [HEADER]


@pytest.mark.parametrize(
    "content",
    [
        b"x",
        b"path,label\r\na/1.jpg,red\r\n",
        b"\xff\xfe\r\n",
        b'"' * 2_000_001,
        encode([columns(["cat", "dog"])]),
        encode([HEADER, ["a/1.jpg", "red"]]),
        encode([HEADER, row("a")]) + b'"a"b"c",\r\n',
    ],
    ids=["a letter", "another table", "bytes", "no lines", "other classes", "a short row", "stray quotes"],
)
def test_foreign_file_is_refused_and_unchanged(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(CsvFileError, match=r"was not written by this command.*--out.*--overwrite\."):
        CsvFile(path, MANIFEST)
    assert path.read_bytes() == content


def test_second_run_on_one_file_is_refused(path: Path) -> None:
    with CsvFile(path, MANIFEST) as csv_file:
        csv_file.append(encode([ROWS[0]]), 1, 0)
        for overwrite in (False, True):
            with pytest.raises(CsvFileError, match="being written by another run"):
                CsvFile(path, MANIFEST, overwrite)
    assert read(path) == [HEADER, ROWS[0]]
    with CsvFile(path, MANIFEST) as csv_file:
        assert csv_file.rows == 1


def test_full_disk_costs_only_the_row_that_did_not_fit(path: Path) -> None:
    whole = write(path)
    path.unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A limit on file sizes acts like a full disk and needs no privileges.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) - 40, limits[1]))
    try:
        with pytest.raises(CsvFileError, match=r"cannot be written \(File too large\)"):
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == whole[:-40]
    assert write(path, ROWS[-1:]) == whole


def test_text_writes_an_undecodable_byte_as_digits() -> None:
    assert text(Path(os.fsdecode(b"caf\xe9.jpg"))) == "caf\\udce9.jpg"

"""The file of scores: whatever a run that ended left of it, nothing wrong is read from it and nothing whole is lost."""

import csv
import os
import resource
from pathlib import Path

import pytest

from bundle.manifest import Manifest
from ml.batch.csv_file import Done, Scores, ScoresError, columns, encode, text
from tests import bundles
from tests.ml import NOT_TEXT

MANIFEST = Manifest.model_validate(bundles.manifest_for(b"", bundles.CLASSES, 32))
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


def write(path: Path, rows: list[list[str]] = ROWS) -> bytes:
    with Scores(path, MANIFEST) as scores:
        for one in rows:
            scores.append(encode([one]), 1, int(bool(one[-3])))
    return path.read_bytes()


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, strict=True))


def test_any_reader_of_csv_finds_each_path_in_a_row(tmp_path: Path) -> None:
    write(tmp_path / "scores.csv")
    assert read(tmp_path / "scores.csv") == [columns(bundles.CLASSES), *ROWS]
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    assert first["path"] == "a/1.jpg"
    assert first["probability_green"] == "0.050000"
    assert first["version"] == "1"


def test_cut_off_at_any_byte_it_keeps_the_whole_rows_and_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    whole = write(path)
    ends = [len(encode([columns(bundles.CLASSES), *ROWS[:count]])) for count in range(len(ROWS) + 1)]
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        kept = max(0, sum(end <= length for end in ends) - 1)
        with Scores(path, MANIFEST) as scores:
            assert scores.rows == kept, length
            assert path.read_bytes() == whole[: ends[kept]]
            done = Done(path)
            left = [one for one in ROWS if one[0] not in done]
            assert left == ROWS[kept:]
            scores.append(encode(left), len(left), 1)
        assert path.read_bytes() == whole
        assert (scores.rows, scores.errors) == (len(ROWS), 1)


@pytest.mark.parametrize(
    "asked",
    [
        [PATHS[0], "a/2 is new.jpg", *PATHS[1:], "z is new.jpg"],
        ["0 is new.jpg", *PATHS],
        [*PATHS[2:], "z is new.jpg"],
        PATHS[::-1],
        [],
    ],
    ids=["new between", "new before", "some gone", "another order", "all gone"],
)
def test_what_came_since_has_no_row(tmp_path: Path, asked: list[str]) -> None:
    write(tmp_path / "scores.csv")
    done = Done(tmp_path / "scores.csv")
    assert [path for path in asked if path not in done] == [path for path in asked if "new" in path]


def test_another_model_is_refused_and_may_begin_anew(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    whole = write(path)
    newer = MANIFEST.model_copy(update={"version": "2"})
    with pytest.raises(ScoresError, match=r"has scores of colours 1, but the model is colours 2: .*--overwrite\."):
        Scores(path, newer)
    assert path.read_bytes() == whole
    with Scores(path, newer, overwrite=True) as scores:
        assert (scores.rows, scores.errors) == (0, 0)
    assert read(path) == [columns(bundles.CLASSES)]


@pytest.mark.parametrize(
    "content",
    [
        b"x",
        b"path,label\r\na/1.jpg,red\r\n",
        b"\xff\xfe\r\n",
        b'"' * 2_000_001,
        encode([columns(["cat", "dog"])]),
        encode([columns(bundles.CLASSES), ["a/1.jpg", "red"]]),
        encode([columns(bundles.CLASSES), row("a")]) + b'"a"b"c",\r\n',
    ],
    ids=["a letter", "another table", "bytes", "no lines", "other classes", "a short row", "stray quotes"],
)
def test_a_file_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scores.csv"
    path.write_bytes(content)
    with pytest.raises(ScoresError, match=r"was not written by this command.*--out.*--overwrite\."):
        Scores(path, MANIFEST)
    assert path.read_bytes() == content


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    with Scores(path, MANIFEST) as scores:
        scores.append(encode([ROWS[0]]), 1, 0)
        for overwrite in (False, True):
            with pytest.raises(ScoresError, match="being written by another run"):
                Scores(path, MANIFEST, overwrite)
    assert read(path) == [columns(bundles.CLASSES), ROWS[0]]
    with Scores(path, MANIFEST) as scores:
        assert scores.rows == 1


def test_a_full_disk_is_a_sentence_and_costs_the_row_that_did_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    whole = write(path)
    path.unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # What a process without privileges can have of a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) - 40, limits[1]))
    try:
        with pytest.raises(
            ScoresError, match=r"cannot be written \(File too large\): mend that and run the same again"
        ):
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == whole[:-40]
    assert write(path, ROWS[-1:]) == whole


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ScoresError, match=r"cannot be written \(Is a directory\)"):
        Scores(tmp_path, MANIFEST)


def test_a_byte_that_is_no_text_is_written_as_its_digits() -> None:
    assert text(Path(os.fsdecode(b"caf\xe9.jpg"))) == "caf\\udce9.jpg"

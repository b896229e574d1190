"""Whole or not at all."""

from pathlib import Path

import pytest

from ml.atomic import whole_file


def test_a_file_takes_the_place_of_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"first", b"second"):
        with whole_file(path) as file:
            file.write(content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_two_processes_may_write_a_shared_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    with whole_file(path, shared=True) as first:
        first.write(b"first")
        monkeypatch.setattr("os.getpid", lambda: 0)
        with whole_file(path, shared=True) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
        monkeypatch.undo()
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_earlier_one_and_no_half_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"earlier")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"earlier" and list(tmp_path.iterdir()) == [path]

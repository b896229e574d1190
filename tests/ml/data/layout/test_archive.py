"""A zip archive is unpacked once, beside the cache."""

import zipfile
from pathlib import Path

import pytest

from ml.data.dataset import DataError
from ml.data.layout.archive import UNPACKED
from ml.data.layout.read import read
from ml.data.scan import collect
from ml.data.unpack import unpack
from tests.ml.data.layout import counted, make, zipped


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return zipped(make(tmp_path / "My Pets", {"cat/{}.png": 3, "dog/{}.png": 2}), tmp_path / "My Pets.zip")


def test_archive_is_unpacked_once(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = read(archive, progress=False)
    assert counted(listing) == {(None, "cat"): 3, (None, "dog"): 2}
    assert listing.folder.parent == UNPACKED
    monkeypatch.setattr("ml.data.layout.archive.unpack", None)
    assert read(archive, progress=False) == listing
    dataset = collect(archive, progress=False)
    assert (dataset.name, dataset.source) == ("my-pets", "file:My Pets.zip")


def test_changed_archive_is_unpacked_again(archive: Path) -> None:
    read(archive, progress=False)
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("My Pets/dog/more.png", b"more")
    assert counted(read(archive, progress=False))[None, "dog"] == 3


def test_damaged_members_are_noted(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("My Pets/dog/bad.png", b"to be hurt")
    archive.write_bytes(archive.read_bytes().replace(b"to be hurt", b"to be HURT"))
    notes = read(archive, progress=False).notes
    assert notes == (f"1 members of {archive} are damaged and left out: My Pets/dog/bad.png.",)


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "cat/../../evil.png", "C:\\evil.png"])
def test_hostile_archive_is_refused_in_one_sentence(archive: Path, name: str) -> None:
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(name, b"evil")
    with pytest.raises(DataError, match=r"My Pets\.zip: The archive is refused, nothing was unpacked"):
        read(archive, progress=False)
    assert not UNPACKED.exists() or not any(UNPACKED.iterdir())
    assert not list(archive.parent.rglob("evil*"))


def test_archive_that_another_process_unpacks_meanwhile_is_read(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All processes of a distributed training start with the same archive."""

    def unpack_twice(source: Path, folder: Path, progress: bool) -> list[str]:
        monkeypatch.setattr("ml.data.layout.archive.unpack", unpack)
        read(archive, progress=False)
        return unpack(source, folder, progress=progress)

    monkeypatch.setattr("ml.data.layout.archive.unpack", unpack_twice)
    assert len(read(archive, progress=False).files) == 5
    assert len(list(UNPACKED.iterdir())) == 1

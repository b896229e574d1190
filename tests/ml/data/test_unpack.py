"""Unpacking: a hostile archive writes nothing outside its folder, and a damaged one nothing wrong."""

import stat
import struct
import zipfile
from pathlib import Path

import pytest

from ml.data.dataset import DataError
from ml.data.unpack import ArchiveError, unpack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "outside" / "into").mkdir(parents=True)
    return tmp_path / "outside" / "into"


def archive(tmp_path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def written(tmp_path: Path) -> dict[str, bytes]:
    outside = tmp_path / "outside"
    return {file.relative_to(outside).as_posix(): file.read_bytes() for file in outside.rglob("*") if file.is_file()}


def test_unpacks_folders_files_and_other_systems_slashes(tmp_path: Path, folder: Path) -> None:
    members = {"a/": b"", "a/1.jpg": b"one", "b\\2.jpg": b"two", "deep/er/é 3.jpg": b"three", "empty": b""}
    assert unpack(archive(tmp_path, members), folder, progress=False) == []
    assert written(tmp_path) == {
        "into/a/1.jpg": b"one",
        "into/b/2.jpg": b"two",
        "into/deep/er/é 3.jpg": b"three",
        "into/empty": b"",
    }
    assert (folder / "a").is_dir()


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "/evil",
        "C:\\evil",
        "C:evil",
        "..\\evil",
        "\\\\host\\share\\evil",
        "a\\..\\..\\evil",
        ".",
    ],
)
def test_refuses_members_that_leave_the_folder(tmp_path: Path, folder: Path, name: str) -> None:
    with pytest.raises(ArchiveError, match="outside the folder"):
        unpack(archive(tmp_path, {"good.jpg": b"good", name: b"evil"}), folder, progress=False)
    assert written(tmp_path) == {}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_refuses_links_and_devices(tmp_path: Path, folder: Path, kind: int) -> None:
    link = zipfile.ZipInfo("link")
    link.create_system = 3
    link.external_attr = (kind | 0o777) << 16
    path = archive(tmp_path, {"good.jpg": b"good"})
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(link, "/etc")
    with pytest.raises(ArchiveError, match="link or a device"):
        unpack(path, folder, progress=False)
    assert written(tmp_path) == {}


def test_refuses_a_bomb_before_it_writes(tmp_path: Path, folder: Path) -> None:
    path = archive(tmp_path, {f"{index}.jpg": bytes(1_000_000) for index in range(10)})
    assert path.stat().st_size < 20_000
    with pytest.raises(DataError, match="10,000,000 bytes, more than --max-bytes 9,999,999"):
        unpack(path, folder, max_bytes=9_999_999, progress=False)
    assert written(tmp_path) == {}
    assert unpack(path, folder, max_bytes=10_000_000, progress=False) == []


def test_a_member_that_lies_about_its_size_writes_no_more_than_it_said(tmp_path: Path, folder: Path) -> None:
    path = archive(tmp_path, {"bomb": bytes(1_000_000), "good.jpg": b"good"})
    honest, lie = struct.pack("<I", 1_000_000), struct.pack("<I", 1000)
    path.write_bytes(path.read_bytes().replace(honest, lie))
    assert unpack(path, folder, max_bytes=2000, progress=False) == ["bomb"]
    assert written(tmp_path) == {"into/good.jpg": b"good"}


def test_a_damaged_member_is_left_out_by_name(tmp_path: Path, folder: Path) -> None:
    path = archive(tmp_path, {"1.jpg": b"whole", "2.jpg": b"to be hurt", "3.jpg": b"sound"}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"to be hurt", b"to be HURT"))
    assert unpack(path, folder, progress=False) == ["2.jpg"]
    assert written(tmp_path) == {"into/1.jpg": b"whole", "into/3.jpg": b"sound"}


def test_refuses_what_is_encrypted_or_packed_in_an_unread_way(tmp_path: Path, folder: Path) -> None:
    path = archive(tmp_path, {"a": b"x" * 100}, zipfile.ZIP_BZIP2)
    with pytest.raises(ArchiveError, match="method 12"):
        unpack(path, folder, progress=False)
    plain = archive(tmp_path, {"a": b"x" * 100}).read_bytes()
    directory = plain.index(b"PK\x01\x02")
    path.write_bytes(plain[: directory + 8] + b"\x01" + plain[directory + 9 :])  # the flag that says: encrypted
    with pytest.raises(ArchiveError, match="is encrypted"):
        unpack(path, folder, progress=False)
    assert written(tmp_path) == {}


@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>", b"PK\x05\x06" + b"\xff" * 18, b"PK\x03\x04" * 50])
def test_says_what_is_no_archive(tmp_path: Path, folder: Path, content: bytes) -> None:
    (tmp_path / "page.zip").write_bytes(content)
    with pytest.raises(ArchiveError, match="not a whole zip file"):
        unpack(tmp_path / "page.zip", folder, progress=False)


def test_a_truncated_archive_is_no_archive(tmp_path: Path, folder: Path) -> None:
    path = archive(tmp_path, {"1.jpg": b"one" * 100})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ArchiveError, match="not a whole zip file"):
        unpack(path, folder, progress=False)

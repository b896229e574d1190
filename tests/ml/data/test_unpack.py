"""Unpacking: a hostile archive writes nothing outside its folder, and a damaged member is left out."""

import io
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


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive.zip"


def archive(path, members: dict[str | zipfile.ZipInfo, bytes], compression: int = zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def written(folder: Path) -> dict[str, bytes]:
    outside = folder.parent
    return {file.relative_to(outside).as_posix(): file.read_bytes() for file in outside.rglob("*") if file.is_file()}


def test_folders_files_and_backslashes_are_unpacked(path: Path, folder: Path) -> None:
    members = {"a/": b"", "a/1.jpg": b"one", "b\\2.jpg": b"two", "deep/er/é 3.jpg": b"three", "empty": b""}
    assert unpack(archive(path, members), folder, progress=False) == []
    assert written(folder) == {
        "into/a/1.jpg": b"one",
        "into/b/2.jpg": b"two",
        "into/deep/er/é 3.jpg": b"three",
        "into/empty": b"",
    }


EVIL = [
    "../evil",
    "a/../../evil",
    "/evil",
    "C:\\evil",
    "C:evil",
    "..\\evil",
    "\\\\host\\share\\evil",
    "a\\..\\..\\x",
    ".",
]


@pytest.mark.parametrize("name", EVIL)
def test_member_outside_the_folder_is_refused(path: Path, folder: Path, name: str) -> None:
    with pytest.raises(ArchiveError, match="outside the folder"):
        unpack(archive(path, {"good.jpg": b"good", name: b"evil"}), folder, progress=False)
    assert written(folder) == {}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_link_or_device_is_refused(path: Path, folder: Path, kind: int) -> None:
    link = zipfile.ZipInfo("link")
    link.create_system = 3
    link.external_attr = (kind | 0o777) << 16
    with pytest.raises(ArchiveError, match="link or a device"):
        unpack(archive(path, {"good.jpg": b"good", link: b"/etc"}), folder, progress=False)
    assert written(folder) == {}


def test_bomb_is_refused_before_a_byte_is_written(path: Path, folder: Path) -> None:
    archive(path, {f"{index}.jpg": bytes(1_000_000) for index in range(10)})
    assert path.stat().st_size < 20_000
    with pytest.raises(DataError, match="10,000,000 bytes, more than --max-bytes 9,999,999"):
        unpack(path, folder, max_bytes=9_999_999, progress=False)
    assert written(folder) == {}
    assert unpack(path, folder, max_bytes=10_000_000, progress=False) == []


def test_member_never_exceeds_its_declared_size(path: Path, folder: Path) -> None:
    archive(path, {"bomb": bytes(1_000_000), "good.jpg": b"good"})
    honest, lie = struct.pack("<I", 1_000_000), struct.pack("<I", 1000)
    path.write_bytes(path.read_bytes().replace(honest, lie))
    assert unpack(path, folder, max_bytes=2000, progress=False) == ["bomb"]
    assert written(folder) == {"into/good.jpg": b"good"}


def test_damaged_member_is_left_out_and_named(path: Path, folder: Path) -> None:
    archive(path, {"1.jpg": b"whole", "2.jpg": b"to be hurt", "3.jpg": b"sound"}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"to be hurt", b"to be HURT"))
    assert unpack(path, folder, progress=False) == ["2.jpg"]
    assert written(folder) == {"into/1.jpg": b"whole", "into/3.jpg": b"sound"}


def test_encrypted_or_unsupported_member_is_refused(path: Path, folder: Path) -> None:
    with pytest.raises(ArchiveError, match="method 12"):
        unpack(archive(path, {"a": b"x" * 100}, zipfile.ZIP_BZIP2), folder, progress=False)
    plain = archive(path, {"a": b"x" * 100}).read_bytes()
    directory = plain.index(b"PK\x01\x02")
    path.write_bytes(plain[: directory + 8] + b"\x01" + plain[directory + 9 :])  # the flag of encryption
    with pytest.raises(ArchiveError, match="is encrypted"):
        unpack(path, folder, progress=False)
    assert written(folder) == {}


WHOLE = archive(io.BytesIO(), {"1.jpg": b"one" * 100}).getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"PK\x05\x06" + b"\xff" * 18, b"PK\x03\x04" * 50, WHOLE[:-30]],
    ids=["empty", "a page", "hostile numbers", "hostile headers", "cut off"],
)
def test_other_bytes_or_a_part_are_not_an_archive(path: Path, folder: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="not a whole zip file"):
        unpack(path, folder, progress=False)

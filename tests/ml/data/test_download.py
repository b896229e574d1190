"""Downloading over real HTTP: resumed after a cut, restarted after a change, and complete before it is unpacked."""

import errno
import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from ml.data.dataset import DataError
from ml.data.download import download
from ml.data.fetch import CHUNK
from ml.data.scan import scan
from tests import servers
from tests.ml.file_server import Served, serving


def zipped(seed: int, size: int = 400_000) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("cat", "dog"):
            archive.writestr(f"PetImages/{name}/1.jpg", hashlib.shake_256(f"{seed} {name}".encode()).digest(size))
    return file.getvalue()


ARCHIVE, OTHER, SHORT = zipped(0), zipped(1), zipped(2, 1000)
HALF = len(ARCHIVE) // 2


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(ARCHIVE) as server:
        yield server


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "data" / "Pets 2"


def get(served: Served, to: Path) -> None:
    result = download(served.address, to, progress=False)
    with zipfile.ZipFile(io.BytesIO(served.content)) as archive:
        for name in archive.namelist():
            assert (to / name).read_bytes() == archive.read(name)
    assert result.sha256 == hashlib.sha256(served.content).hexdigest()
    # No part and no temporary folder is left.
    assert list(to.parent.iterdir()) == [to]


def cut(served: Served, to: Path) -> None:
    """Lose the network half-way."""
    served.cuts = [HALF, 0]
    with pytest.raises(DataError, match=r"cannot be reached .*to resume"):
        download(served.address, to, progress=False)
    assert not to.exists()
    served.asked.clear()
    served.sent = 0


def test_description_names_hash_and_source_without_secrets(served: Served, to: Path) -> None:
    secret = served.address.replace("http://", "http://user:password@")
    download(secret, to, hashlib.sha256(ARCHIVE).hexdigest().upper(), progress=False)
    assert json.loads((to / "dataset.json").read_text()) == {
        "name": "pets-2",
        "source": served.address,
        "sha256": hashlib.sha256(ARCHIVE).hexdigest(),
        "synthetic": False,
    }


def test_cut_connection_is_resumed_in_the_same_call(served: Served, to: Path) -> None:
    served.cuts = [HALF, 100_000]
    get(served, to)
    assert len(served.asked) == 3
    assert served.sent < len(ARCHIVE) + 2 * CHUNK


@pytest.mark.parametrize("etag", [True, False])
def test_next_call_resumes(served: Served, to: Path, etag: bool) -> None:
    served.etag, served.date = etag, "Mon, 01 Jan 2024 00:00:00 GMT"
    cut(served, to)
    get(served, to)
    assert len(served.asked) == 1
    assert served.sent < len(ARCHIVE) - HALF + CHUNK


@pytest.mark.parametrize("lacks", ["ranges", "etag"])
def test_server_without_ranges_or_versions_sends_all_again(served: Served, to: Path, lacks: str) -> None:
    setattr(served, lacks, False)
    cut(served, to)
    get(served, to)
    assert served.sent == len(ARCHIVE)


@pytest.mark.parametrize("minds_if_range", [True, False])
@pytest.mark.parametrize("content", [OTHER, SHORT], ids=["other", "shorter than the part"])
def test_changed_file_is_restarted(served: Served, to: Path, content: bytes, minds_if_range: bool) -> None:
    cut(served, to)
    served.content, served.minds_if_range = content, minds_if_range
    get(served, to)


def test_part_of_another_address_is_discarded(served: Served, to: Path) -> None:
    cut(served, to)
    with serving(OTHER) as other:
        get(other, to)
        assert other.asked == [None]


def test_server_error_keeps_the_part(served: Served, to: Path) -> None:
    cut(served, to)
    record = to.with_name(to.name + ".zip.part.json")
    missing = served.address.replace("archive", "missing")
    record.write_text(record.read_text().replace(served.address, missing))
    with pytest.raises(DataError, match="answers 404"):
        download(missing, to, progress=False)
    assert to.with_name(to.name + ".zip.part").stat().st_size >= HALF - CHUNK


def test_server_may_omit_the_length(served: Served, to: Path) -> None:
    served.says_length = False
    get(served, to)


def test_archive_over_the_limit_is_not_fetched_twice(served: Served, to: Path) -> None:
    with pytest.raises(DataError, match="--max-bytes 1,000"):
        download(served.address, to, max_bytes=1000, progress=False)
    assert not to.exists()
    get(served, to)
    assert served.sent == len(ARCHIVE)


def test_finished_download_is_not_repeated(served: Served, to: Path) -> None:
    get(served, to)
    assert download(served.address, to, progress=False).was_there
    assert len(served.asked) == 1
    with pytest.raises(DataError, match="is there already"):
        download(served.address, to, "0" * 64, progress=False)


def test_archive_with_a_wrong_hash_is_deleted(served: Served, to: Path) -> None:
    with pytest.raises(DataError, match=f"has the SHA-256 {hashlib.sha256(ARCHIVE).hexdigest()}, not 000"):
        download(served.address, to, "0" * 64, progress=False)
    assert list(to.parent.iterdir()) == []


def test_page_instead_of_an_archive_is_deleted(served: Served, to: Path) -> None:
    served.content = b"<html>Please log in</html>"
    with pytest.raises(DataError, match="not a whole zip file"):
        download(served.address, to, progress=False)
    served.content = ARCHIVE
    get(served, to)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("{served}/missing.zip", r"answers 404 \(Not Found\): check the address"),
        ("http://127.0.0.1:{closed}/a.zip", r"cannot be reached \(Connection refused\): check the network"),
        ("http://no-such-host.invalid/a.zip", r"cannot be reached \(.*\): check the network"),
        ("ftp://127.0.0.1/a.zip", "starts with https:, http: or file:"),
        ("photos.zip", "starts with https:, http: or file:"),
        ("http://[bad/a.zip", "not an address"),
        ("file:///no/such/photos.zip", r"cannot be read \(No such file"),
        ("file://elsewhere/photos.zip", "names the machine elsewhere"),
    ],
)
def test_wrong_address_is_one_sentence(served: Served, to: Path, url: str, message: str) -> None:
    address = url.replace("{served}", served.address.rpartition("/")[0]).replace("{closed}", str(servers.free_port()))
    with pytest.raises(DataError, match=message) as caught:
        download(address, to, progress=False)
    assert "\n" not in str(caught.value)
    assert not to.exists()


def test_folder_that_cannot_be_made_is_one_sentence(served: Served, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "mkdir", Mock(side_effect=PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(DataError, match=r"cannot be written \(Permission denied\): .* another --to"):
        download(served.address, to, progress=False)


def test_archive_from_a_file_address_is_unpacked(drawn: Path, tmp_path: Path, to: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "drawn of shapes"), "zip", drawn.parent, drawn.name))
    before = archive.read_bytes()
    download(archive.as_uri(), to, progress=False)
    dataset = scan(to, progress=False)
    # Without the folders of this machine.
    assert (dataset.name, dataset.source) == ("pets-2", "file:drawn of shapes.zip")
    assert (len(dataset.images), dataset.classes, dataset.synthetic) == (120, ("circle", "square"), False)
    assert archive.read_bytes() == before

"""Downloading over real HTTP: resumed where it was cut, started anew where it must be, and never taken for whole."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml.data.dataset import DataError
from ml.data.download import download
from ml.data.fetch import CHUNK
from ml.data.sample import sample
from ml.data.scan import scan
from tests import servers
from tests.ml.file_server import ServingModel, serving


def zipped(seed: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for index, name in enumerate(("cat", "dog")):
            content = hashlib.shake_256(f"{seed} {index}".encode()).digest(400_000)
            archive.writestr(f"PetImages/{name}/1.jpg", content)
    return file.getvalue()


ARCHIVE, OTHER = zipped(0), zipped(1)
HALF = len(ARCHIVE) // 2


@pytest.fixture
def served() -> Iterator[ServingModel]:
    with serving(ARCHIVE) as server:
        yield server


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "data" / "Pets 2"


def get(served: ServingModel, to: Path, sha256: str | None = None) -> None:
    result = download(served.address, to, sha256, progress=False)
    with zipfile.ZipFile(io.BytesIO(served.content)) as archive:
        for name in archive.namelist():
            assert (to / name).read_bytes() == archive.read(name)
    assert result.sha256 == hashlib.sha256(served.content).hexdigest()
    # Neither a part nor a temporary folder stays behind.
    assert list(to.parent.iterdir()) == [to]


def cut(served: ServingModel, to: Path, at: int = HALF) -> None:
    """A download that fails after ``at`` bytes and again with none gained, as when the network goes away."""
    served.cuts = [at, 0]
    with pytest.raises(DataError, match=r"cannot be reached .*goes on where it stopped"):
        download(served.address, to, progress=False)
    assert not to.exists()
    served.asked.clear()
    served.sent = 0


def test_says_where_it_is_from(served: ServingModel, to: Path) -> None:
    get(served, to, hashlib.sha256(ARCHIVE).hexdigest().upper())
    assert json.loads((to / "dataset.json").read_text()) == {
        "name": "pets-2",
        "source": served.address,
        "sha256": hashlib.sha256(ARCHIVE).hexdigest(),
        "synthetic": False,
    }


def test_secrets_in_the_address_are_not_written_down(served: ServingModel, to: Path) -> None:
    secret = served.address.replace("http://", "http://user:password@")
    download(secret, to, progress=False)
    assert json.loads((to / "dataset.json").read_text())["source"] == served.address


def test_a_cut_connection_is_taken_up_by_itself(served: ServingModel, to: Path) -> None:
    served.cuts = [HALF, 100_000]
    get(served, to)
    assert len(served.asked) == 3
    assert served.sent < len(ARCHIVE) + 2 * CHUNK


@pytest.mark.parametrize("etag", [True, False])
def test_the_next_run_goes_on_where_the_last_stopped(served: ServingModel, to: Path, etag: bool) -> None:
    served.etag, served.date = etag, "Mon, 01 Jan 2024 00:00:00 GMT"
    cut(served, to)
    get(served, to)
    assert len(served.asked) == 1
    assert served.sent < len(ARCHIVE) - HALF + CHUNK


def test_a_server_without_ranges_is_asked_for_all_again(served: ServingModel, to: Path) -> None:
    served.ranges = False
    cut(served, to)
    get(served, to)
    assert served.sent == len(ARCHIVE)


def test_without_a_version_nothing_is_resumed(served: ServingModel, to: Path) -> None:
    served.etag = False
    cut(served, to)
    get(served, to)
    assert served.asked == [None]


@pytest.mark.parametrize("minds_if_range", [True, False])
def test_a_file_that_changed_is_started_anew(served: ServingModel, to: Path, minds_if_range: bool) -> None:
    cut(served, to)
    served.content, served.minds_if_range = OTHER, minds_if_range
    get(served, to)


def test_a_shorter_file_than_the_part_is_started_anew(served: ServingModel, to: Path) -> None:
    cut(served, to, at=len(ARCHIVE) - 10)
    with zipfile.ZipFile(short := io.BytesIO(), "w") as archive:
        archive.writestr("cat/1.jpg", b"short")
    served.content = short.getvalue()
    get(served, to)


def test_a_part_of_another_address_is_not_gone_on_with(served: ServingModel, to: Path) -> None:
    cut(served, to)
    with serving(OTHER) as other:
        get(other, to)
        assert other.asked == [None]


def test_a_server_that_says_no_length(served: ServingModel, to: Path) -> None:
    served.says_length = False
    get(served, to)


def test_a_whole_archive_is_not_fetched_twice_for_a_full_limit(served: ServingModel, to: Path) -> None:
    with pytest.raises(DataError, match="--max-bytes 1,000"):
        download(served.address, to, max_bytes=1000, progress=False)
    assert not to.exists()
    get(served, to)
    assert served.sent == len(ARCHIVE)


def test_the_same_again_does_nothing(served: ServingModel, to: Path) -> None:
    get(served, to)
    assert download(served.address, to, progress=False).was_there
    assert len(served.asked) == 1
    with pytest.raises(DataError, match="is there already"):
        download(served.address, to, "0" * 64, progress=False)


def test_a_wrong_hash_is_refused_and_not_kept(served: ServingModel, to: Path) -> None:
    with pytest.raises(DataError, match=f"has the SHA-256 {hashlib.sha256(ARCHIVE).hexdigest()}, not 000"):
        download(served.address, to, "0" * 64, progress=False)
    assert list(to.parent.iterdir()) == []


def test_a_page_instead_of_an_archive_is_not_kept(served: ServingModel, to: Path) -> None:
    served.content = b"<html>Please log in</html>"
    with pytest.raises(DataError, match="not a whole zip file"):
        download(served.address, to, progress=False)
    served.content = ARCHIVE
    get(served, to)


def test_errors_are_one_sentence(served: ServingModel, to: Path) -> None:
    nowhere = f"http://127.0.0.1:{servers.free_port()}/a.zip"
    for url, message in (
        (served.address.replace("archive", "missing"), r"answers 404 \(Not Found\): check the address"),
        (nowhere, r"cannot be reached \(Connection refused\): check the network"),
        ("http://no-such-host.invalid/a.zip", r"cannot be reached \(.*\): check the network"),
        ("ftp://127.0.0.1/a.zip", "starts with https:, http: or file:"),
        ("photos.zip", "starts with https:, http: or file:"),
        ("http://[bad/a.zip", "no address"),
        ("file:///no/such/photos.zip", r"cannot be read \(No such file"),
        ("file://elsewhere/photos.zip", "names the machine elsewhere"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            download(url, to, progress=False)
        assert "\n" not in str(caught.value)
        assert not to.exists()


def test_photos_from_a_file_address(photo_archives: Path | None, to: Path) -> None:
    if photo_archives:
        archive = photo_archives / "photos-full-size.zip"
        classes, pictures = ("cat", "dog"), 600
    else:
        sample(to.parent / "drawn", pictures=120, progress=False)
        archive = to.parent / "drawn of shapes.zip"
        with zipfile.ZipFile(archive, "w") as file:
            for picture in (to.parent / "drawn").rglob("*.jpg"):
                file.write(picture, f"photos/{picture.parent.name}/{picture.name}")
        classes, pictures = ("circle", "square"), 120
    before = archive.read_bytes()
    download(archive.as_uri(), to, progress=False)
    dataset = scan(to, progress=False)
    assert (dataset.name, dataset.classes, dataset.synthetic) == ("pets-2", classes, False)
    # Where it lay on this machine is nobody else's business.
    assert dataset.source == f"file:{archive.name}"
    assert (len(dataset.images), dataset.problems) == (pictures, ())
    assert archive.read_bytes() == before

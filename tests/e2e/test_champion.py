"""The shipped model, served as shipped."""

import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pytest

from bundle.load import load
from tests.servers import ROOT
from tests.services.inference.serving import Service, service

CHAMPION = ROOT / "models" / "champion"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("champion"), MODEL_DIR=CHAMPION) as champion:
        yield champion


def test_champion_is_ready_under_its_manifests_name_and_measured_on_photos(running: Service) -> None:
    manifest = load(CHAMPION).manifest
    model = running.get("/ready").json()["model"]
    assert model == {"name": manifest.name, "version": manifest.version, "classes": manifest.classes}
    assert not manifest.dataset.synthetic
    assert manifest.metrics is not None and manifest.metrics.pictures >= 1000
    assert f"{manifest.metrics.accuracy:.2%}" in (CHAMPION / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_champion_is_as_accurate_on_full_size_photos(running: Service, photo_archives: Path | None) -> None:
    manifest = load(CHAMPION).manifest
    assert manifest.metrics is not None
    photos = [("cat", (ROOT / "docs" / "cat.jpg").read_bytes())]
    if photo_archives:
        with zipfile.ZipFile(photo_archives / "photos-full-size.zip") as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            photos += [(PurePosixPath(name).parent.name.lower(), archive.read(name)) for name in names]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda photo: running.predict(photo[1]).json()["label"], photos))
    right = sum(answer == label for answer, (label, _) in zip(answers, photos, strict=True))
    # Three standard errors below the manifest's accuracy are chance.
    promised = manifest.metrics.accuracy
    assert right / len(photos) > promised - 3 * (promised * (1 - promised) / len(photos)) ** 0.5

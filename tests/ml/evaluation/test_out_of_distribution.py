"""Out-of-distribution images are evaluated as the service would."""

import pytest

from bundle.load import load
from ml.data.dataset import DataError
from ml.evaluation import out_of_distribution
from tests import bundles, drawn_images


def test_measure_counts_the_answers_of_the_service(tmp_path):
    folders = {name: tmp_path / name for name in ("walls", "skies")}
    for folder in folders.values():
        folder.mkdir()
    for i, colour in enumerate([(90, 90, 90), (250, 0, 0), (255, 255, 255), (0, 240, 0)]):
        (folders["walls"] / f"{i}.jpg").write_bytes(drawn_images.plain(colour))
    (folders["skies"] / "blue.png").write_bytes(drawn_images.plain((0, 0, 230), "PNG"))
    bundle = load(bundles.write(tmp_path / "bundle"))
    found = out_of_distribution.measure(bundle, out_of_distribution.read(folders))
    assert found["skies"].model_dump() == {"pictures": 1, "uncertain": 0.0, "sure": 1.0}
    assert found["walls"].model_dump() == {"pictures": 4, "uncertain": 0.5, "sure": 0.5}


def test_read_ignores_the_files_of_operating_systems(tmp_path):
    for name in (".DS_Store", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"not an image")
    with pytest.raises(DataError, match="holds no images"):
        out_of_distribution.read({"skies": tmp_path})
    (tmp_path / "blue.png").write_bytes(drawn_images.plain((0, 0, 230), "PNG"))
    assert out_of_distribution.read({"skies": tmp_path}) == {"skies": [(tmp_path / "blue.png").read_bytes()]}


def test_read_names_the_file_that_is_not_an_image(tmp_path):
    (tmp_path / "blue.png").write_bytes(drawn_images.plain((0, 0, 230), "PNG"))
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(DataError, match=r"notes\.txt is not an image: move it away"):
        out_of_distribution.read({"skies": tmp_path})


def test_read_refuses_a_missing_folder(tmp_path):
    with pytest.raises(DataError, match=r"none cannot be read \(No such file or directory\)"):
        out_of_distribution.read({"none": tmp_path / "none"})

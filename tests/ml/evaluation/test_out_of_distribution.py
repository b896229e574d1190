"""Out-of-distribution images are evaluated as the service would."""

import pytest

from bundle.load import load
from ml.data.dataset import DataError
from ml.evaluation import out_of_distribution
from tests import bundles, drawn_images


def test_measure_counts_the_answers_of_the_service(tmp_path):
    folders = [tmp_path / "walls", tmp_path / "skies"]
    for folder in folders:
        folder.mkdir()
    for i, colour in enumerate([(90, 90, 90), (250, 0, 0), (255, 255, 255), (0, 240, 0)]):
        (folders[0] / f"{i}.jpg").write_bytes(drawn_images.plain(colour))
    (folders[1] / "blue.png").write_bytes(drawn_images.plain((0, 0, 230), "PNG"))
    bundle = load(bundles.write(tmp_path / "bundle"))
    found = out_of_distribution.measure(bundle, out_of_distribution.read(folders))
    assert found["skies"].model_dump() == {"pictures": 1, "uncertain": 0.0, "sure": 1.0}
    assert found["walls"].model_dump() == {"pictures": 4, "uncertain": 0.5, "sure": 0.5}


def test_read_refuses_other_folders(tmp_path):
    with pytest.raises(DataError, match=r"none is not a folder of images only"):
        out_of_distribution.read([tmp_path / "none"])
    with pytest.raises(DataError, match="holds no images"):
        out_of_distribution.read([tmp_path])
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(DataError, match=r"not a folder of images only \(.+\)"):
        out_of_distribution.read([tmp_path])

"""Out-of-distribution images are drawn reproducibly and evaluated as the service would."""

import numpy as np
import pytest

from bundle.load import load
from ml.data.dataset import DataError
from ml.evaluation import out_of_distribution
from tests import bundles, drawn_images


@pytest.mark.parametrize("kind", out_of_distribution.KINDS)
def test_draw_same_seed_gives_the_same_distinct_images(kind):
    first, again, other = (out_of_distribution.draw(kind, 3, seed) for seed in (0, 0, 1))
    assert [i.tobytes() for i in first] == [i.tobytes() for i in again]
    assert len({i.tobytes() for i in (*first, *other)}) == 6
    assert all(i.size == (out_of_distribution.WIDTH, out_of_distribution.HEIGHT) and i.mode == "RGB" for i in first)


def test_draw_shows_its_kind():
    flat, noise, landscape = (
        np.asarray(out_of_distribution.draw(kind, 1)[0]) for kind in ("flat colour", "noise", "landscape")
    )
    assert flat.std((0, 1)).max() == 0
    assert noise.std((0, 1)).min() > 60
    assert landscape[:20, ..., 2].mean() > landscape[-20:, ..., 2].mean(), "the sky is bluer than the ground"


def test_measure_counts_the_answers_of_the_service(tmp_path, monkeypatch):
    monkeypatch.setattr(out_of_distribution, "KINDS", {"noise": out_of_distribution.KINDS["noise"]})
    monkeypatch.setattr(out_of_distribution, "IMAGES_PER_KIND", 5)
    folder = tmp_path / "walls"
    folder.mkdir()
    for i, colour in enumerate([(90, 90, 90), (250, 0, 0), (255, 255, 255), (0, 240, 0)]):
        (folder / f"{i}.jpg").write_bytes(drawn_images.plain(colour))
    bundle = load(bundles.write(tmp_path / "bundle"))
    found = out_of_distribution.measure(bundle, out_of_distribution.read([folder]))
    assert found["noise"].model_dump() == {"pictures": 5, "uncertain": 1.0, "sure": 0.0}, "grey on average"
    assert found["walls"].model_dump() == {"pictures": 4, "uncertain": 0.5, "sure": 0.5}


def test_read_refuses_other_folders(tmp_path):
    with pytest.raises(DataError, match=r"none is not a folder of images only"):
        out_of_distribution.read([tmp_path / "none"])
    with pytest.raises(DataError, match="holds no images"):
        out_of_distribution.read([tmp_path])
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(DataError, match=r"not a folder of images only \(.+\)"):
        out_of_distribution.read([tmp_path])

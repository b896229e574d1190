"""Pictures of neither: drawn reproducibly, each kind its own, and counted as the service would answer."""

import numpy as np
import pytest

from bundle.load import load
from ml.data.dataset import DataError
from ml.evaluation import out_of_distribution as neither
from tests import bundles
from tests import drawn_images as pictures


@pytest.mark.parametrize("kind", neither.KINDS)
def test_the_same_seed_draws_the_same_and_no_two_pictures_are_alike(kind):
    first, again, other = (neither.draw(kind, 3, seed) for seed in (0, 0, 1))
    assert [i.tobytes() for i in first] == [i.tobytes() for i in again]
    assert len({i.tobytes() for i in (*first, *other)}) == 6
    assert all(i.size == (neither.WIDTH, neither.HEIGHT) and i.mode == "RGB" for i in first)


def test_a_flat_colour_is_flat_and_noise_is_not():
    (flat,), (noise,), (landscape,) = (neither.draw(kind, 1) for kind in ("flat colour", "noise", "landscape"))
    assert np.asarray(flat).std((0, 1)).max() == 0
    assert np.asarray(noise).std((0, 1)).min() > 60
    sky, ground = np.asarray(landscape)[:20].mean((0, 1)), np.asarray(landscape)[-20:].mean((0, 1))
    assert sky[2] > ground[2], "the sky is bluer than the ground"


def test_shares_are_of_the_services_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(neither, "KINDS", {"noise": neither.KINDS["noise"]})
    monkeypatch.setattr(neither, "PICTURES", 5)
    folder = tmp_path / "walls"
    folder.mkdir()
    for i, colour in enumerate([(90, 90, 90), (250, 0, 0), (255, 255, 255), (0, 240, 0)]):
        (folder / f"{i}.jpg").write_bytes(pictures.plain(colour))
    found = neither.measure(load(bundles.write(tmp_path / "bundle")), neither.read([folder]))
    assert found["noise"].model_dump() == {"pictures": 5, "uncertain": 1.0, "sure": 0.0}, "grey on average"
    assert found["walls"].model_dump() == {"pictures": 4, "uncertain": 0.5, "sure": 0.5}


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"none is not a folder of pictures alone"):
        neither.read([tmp_path / "none"])
    with pytest.raises(DataError, match="holds no pictures"):
        neither.read([tmp_path])
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(DataError, match=r"not a folder of pictures alone \(This is not a picture"):
        neither.read([tmp_path])

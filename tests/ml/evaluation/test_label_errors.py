"""Doubtful labels: what is turned round is found, what is right is left alone, and test pictures are not touched."""

import csv
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from ml.data.scan import scan
from ml.evaluation import label_errors as suspects
from tests.ml.conftest import COLOURS, draw


@pytest.fixture(scope="module")
def mislabelled(tmp_path_factory):
    """Blue and red pictures, of which some stand in the other folder."""
    folder = draw(tmp_path_factory.mktemp("data") / "colours", COLOURS, 80, seed=3)
    for i in range(4):
        shutil.move(folder / "blue" / f"{i:03}.bmp", folder / "red" / f"wrong-{i}.bmp")
    return folder


def test_finds_what_stands_in_the_wrong_folder(mislabelled, tmp_path, monkeypatch, recipe, capsys):
    short = replace(recipe, batch=8, label_smoothing=0.0)
    monkeypatch.setattr(suspects.find, "__defaults__", (short,))
    monkeypatch.setattr(suspects, "DECODED_SIDE", 40)
    wrong = {p.path.name for p in scan(mislabelled, progress=False).images if "wrong" in p.path.name}
    searched = {
        p.path.name for p in scan(mislabelled, progress=False).images if p.path.name in wrong and p.split != "test"
    }
    assert searched, "the drawn set has no wrong picture outside its test split"
    arguments = ["--data", str(mislabelled), "--out", str(tmp_path / "out"), "--cache", str(tmp_path), "--least", "0.5"]
    assert suspects.main(arguments) == 0
    with (tmp_path / "out" / "suspects.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = {row["path"].rpartition("/")[2] for row in rows}
    assert found == searched
    assert all(row["label"] == "red" and row["likelier"] == "blue" and float(row["probability"]) > 0.5 for row in rows)
    assert [float(row["probability"]) for row in rows] == sorted((float(r["probability"]) for r in rows), reverse=True)
    with Image.open(tmp_path / "out" / "suspects-1.png") as page:
        assert page.width == suspects.COLUMNS * suspects.TILE
        red, _, blue = page.convert("RGB").getpixel((60, 60))
        assert blue > red, "the sheet shows the picture"
    assert f"{len(rows)} doubted labels" in capsys.readouterr().out


def test_says_what_is_wrong(tmp_path, capsys):
    assert suspects.main(["--data", str(tmp_path / "none"), "--out", str(tmp_path)]) == 2
    assert "There is no folder" in capsys.readouterr().err

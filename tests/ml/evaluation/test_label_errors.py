"""Images in the wrong folder are found, correct ones and test images are left alone."""

import csv
import shutil
from dataclasses import replace

import numpy as np
from PIL import Image

from ml.data.scan import scan
from ml.evaluation import label_errors
from tests.ml.conftest import COLOURS, draw


def test_command_finds_images_in_the_wrong_folder(tmp_path, monkeypatch, config, capsys):
    data = draw(tmp_path / "colours", COLOURS, 80, seed=3)
    for i in range(4):
        shutil.move(data / "blue" / f"{i:03}.bmp", data / "red" / f"wrong-{i}.bmp")
    wrong = {
        image.path.name
        for image in scan(data, progress=False).images
        if image.path.name.startswith("wrong") and image.split != "test"
    }
    assert wrong, "all wrong images are in the test split"
    monkeypatch.setattr(label_errors.find, "__defaults__", (replace(config, batch=8, label_smoothing=0.0),))
    monkeypatch.setattr(label_errors, "DECODED_SIDE", 40)
    out = tmp_path / "out"
    arguments = ["--data", str(data), "--out", str(out), "--cache", str(tmp_path / "cache"), "--least", "0.5"]
    assert label_errors.main(arguments) == 0
    with (out / "label_errors.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["path"].rpartition("/")[2] for row in rows} == wrong
    assert all(row["label"] == "red" and row["predicted"] == "blue" for row in rows)
    probabilities = [float(row["probability"]) for row in rows]
    assert probabilities == sorted(probabilities, reverse=True) and probabilities[-1] > 0.5
    with Image.open(out / "label_errors-1.png") as page:
        red, _, blue = np.asarray(page.convert("RGB")).mean((0, 1))
        assert blue > red + 5, "the sheet shows the images"
    assert f"{len(rows)} probable label errors" in capsys.readouterr().out


def test_command_reports_a_missing_folder(tmp_path, capsys):
    assert label_errors.main(["--data", str(tmp_path / "none"), "--out", str(tmp_path)]) == 2
    assert "There is no folder" in capsys.readouterr().err

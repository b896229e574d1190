"""Images in the wrong folder are found, correct ones and test images are left alone."""

import csv
import shutil

from PIL import Image

from ml.evaluation import label_errors
from ml.training.config import TrainingConfig
from tests.ml.conftest import SIDE


def test_command_finds_images_in_the_wrong_folder(tmp_path, shapes, pretrained, cache, monkeypatch, capsys):
    # Copies of decoded images and the graph of the backbone are in the shared cache.
    data = tmp_path / "shapes"
    for image in shapes.images:
        name = shapes.classes[image.label]
        (data / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(image.path, data / name)
    moved = [image for image in shapes.images if image.split == "train" and image.label == 0][::12]
    for image in moved:
        (data / "circle" / image.path.name).rename(data / "square" / f"wrong-{image.path.name}")
    monkeypatch.setattr(label_errors, "TrainingConfig", lambda: TrainingConfig(size=SIDE))
    monkeypatch.setattr(label_errors, "build_backbone", lambda *_, **__: pretrained)
    out = tmp_path / "out"
    arguments = ["--data", str(data), "--out", str(out), "--cache", str(cache), "--least", "0.6"]
    assert label_errors.main(arguments) == 0
    with (out / "label_errors.csv").open() as file:
        rows = list(csv.DictReader(file))
    wrong = [row for row in rows if row["path"].rpartition("/")[2].startswith("wrong-")]
    assert len(wrong) > len(moved) / 2 and len(wrong) > len(rows) / 2
    assert all(row["label"] == "square" and row["predicted"] == "circle" for row in wrong)
    probabilities = [float(row["probability"]) for row in rows]
    assert probabilities == sorted(probabilities, reverse=True) and probabilities[-1] >= 0.6
    assert not {row["path"].rpartition("/")[2] for row in rows} & {
        image.path.name for image in shapes.images if image.split == "test"
    }
    with Image.open(out / "label_errors-1.png") as page:
        assert len(set(page.convert("L").resize((64, 64)).tobytes())) > 10, "the sheet shows the images"
    assert f"{len(rows)} probable label errors" in capsys.readouterr().out


def test_command_reports_a_missing_folder(tmp_path, capsys):
    assert label_errors.main(["--data", str(tmp_path / "none"), "--out", str(tmp_path)]) == 2
    assert "There is no folder" in capsys.readouterr().err

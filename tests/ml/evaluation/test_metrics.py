"""Held-out metrics: by hand, and as the service would answer."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.load import load
from bundle.predictor import Predictor
from bundle.preprocess import decode
from ml.data.dataset import LabelledImage
from ml.evaluation.metrics import Evaluation, calibration_error, evaluate, main, metrics, reference, summary
from tests import bundles
from tests import drawn_images as pictures
from tests.ml.conftest import draw

# Five pictures of cat (0) and dog (1). The third and the fifth are wrong.
LABELS = [0, 0, 1, 1, 1]
PROBABILITIES = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.1, 0.9], [0.55, 0.45]]


def evaluation(labels=LABELS, probabilities=PROBABILITIES, classes=("cat", "dog")) -> Evaluation:
    rows = np.array(probabilities, np.float32)
    found = tuple(LabelledImage(Path(f"{i}.jpg"), label, str(i), "test") for i, label in enumerate(labels))
    return Evaluation(found, np.array(labels), rows, classes)


def test_metrics_by_hand():
    measured = metrics(evaluation())
    assert (measured.pictures, measured.accuracy) == (5, 0.6)
    assert measured.recall == pytest.approx({"cat": 1.0, "dog": 1 / 3})
    assert measured.log_loss == pytest.approx(-sum(map(math.log, (0.9, 0.8, 0.3, 0.9, 0.45))) / 5, rel=1e-5)
    # Wilson: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    z, n, p = 1.959964, 5, 0.6
    middle, reach, scale = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)), 1 + z * z / n
    assert measured.accuracy_ci95 == pytest.approx(((middle - reach) / scale, (middle + reach) / scale), abs=1e-5)
    # Of 15 bins: 0.9 and 0.9 (both right) in the 14th, then 0.8 (right), 0.7 (wrong) and 0.55 (wrong) alone.
    assert measured.expected_calibration_error == pytest.approx((0.1 * 2 + 0.2 + 0.7 + 0.55) / 5, abs=1e-6)


def test_certain_answers():
    sure = evaluation([0, 1], [[1, 0], [0, 1]])
    assert metrics(sure).accuracy == 1 and calibration_error(sure) == 0
    assert metrics(sure).accuracy_ci95[1] == pytest.approx(1)
    wrong = evaluation([1, 0], [[1, 0], [0, 1]])
    assert calibration_error(wrong) == 1
    assert metrics(wrong).log_loss == pytest.approx(-math.log(1e-7)), "an impossible answer has a finite loss"


def test_a_class_without_pictures_has_no_recall():
    measured = metrics(evaluation([0, 0], [[0.9, 0.1], [0.4, 0.6]]))
    assert measured.recall == {"cat": 0.5}


def test_reference_distributions():
    found = reference(evaluation())
    assert found.predicted_classes == pytest.approx({"cat": 0.8, "dog": 0.2})
    assert found.confidence_bins[0] == 0.5 and found.confidence_bins[-1] == 1 and len(found.confidence_bins) == 21
    assert sum(found.confidence_shares) == pytest.approx(1)
    # Edges at 0.025 steps: 0.55, 0.7, 0.8 and twice 0.9.
    shares = {round(e, 3): s for e, s in zip(found.confidence_bins, found.confidence_shares, strict=False) if s}
    assert sum(s for e, s in shares.items() if e > 0.85) == pytest.approx(0.4)
    assert sum(s for e, s in shares.items() if e < 0.75) == pytest.approx(0.4)


def test_calibration_bins_and_intervals_by_hand():
    measured = metrics(evaluation())
    bins = [(b.pictures, round(b.confidence, 3), b.accuracy) for b in measured.calibration]
    assert bins == [(1, 0.55, 0.0), (1, 0.7, 0.0), (1, 0.8, 1.0), (2, 0.9, 1.0)]
    assert measured.recall_ci95["cat"] == pytest.approx((2 / (2 + 1.959964**2), 1.0))
    assert measured.uncertain is None


def test_the_worst_mistakes_come_first_and_say_what_is_unusual():
    count = 40
    labels = [0] * count
    rows = [[0.9, 0.1]] * count
    rows[3], rows[5] = [0.2, 0.8], [0.1, 0.9]
    brightness = np.linspace(0.4, 0.6, count, dtype=np.float32)
    sharp = np.linspace(0.1, 0.2, count, dtype=np.float32)
    brightness[3], brightness[5], sharp[3], sharp[5] = 0.02, 0.01, 0.15, 0.9
    measured = metrics(replace(evaluation(labels, rows), statistics={"brightness": brightness, "sharpness": sharp}))
    first, second = measured.worst_mistakes
    assert (first.label, first.predicted, first.confidence) == ("cat", "dog", pytest.approx(0.9))
    assert first.picture.endswith("5.jpg") and first.traits == ["dark", "busy"]
    assert second.picture.endswith("3.jpg") and second.traits == ["dark"]


def test_histograms_of_the_pictures_have_fixed_edges():
    values = np.array([0.0, 0.24, 0.26, 3.0, 0.1], np.float32)
    found = reference(replace(evaluation(), statistics={"sharpness": values})).pictures["sharpness"]
    assert found.bins[0] == 0 and found.bins[-1] == 0.25 and sum(found.shares) == pytest.approx(1)
    assert found.shares[-1] == pytest.approx(0.6), "what lies beyond an edge counts as at it"


def test_spoiled_pictures_and_flags(tmp_path):
    bundle = load(bundles.write(tmp_path / "bundle", classes=["red", "green"]))
    Image.new("RGB", (50, 50), (200, 0, 0)).save(tmp_path / "red.png")
    photos = [LabelledImage(tmp_path / "red.png", 0, "", "test")]
    seen = evaluate(bundle, photos, progress=False)
    assert seen.correct.all() and seen.uncertain.tolist() == [False]
    assert seen.statistics["brightness"] == pytest.approx([200 * 0.299 / 255], abs=1e-3)
    spoiled = evaluate(bundle, photos, progress=False, spoil=lambda _: pictures.plain((255, 255, 0)))
    assert spoiled.uncertain.tolist() == [True] and metrics(spoiled).uncertain == 1


def test_an_undecided_model_has_a_reference():
    just_below = np.nextafter(np.float32(1 / 3), np.float32(0))
    found = reference(evaluation([0, 1], [[just_below] * 3] * 2, ("a", "b", "c")))
    assert found.confidence_shares[0] == 1


def test_the_summary_has_every_number():
    text = summary(metrics(evaluation()))
    for part in ("5", "60.00%", "23.07% to 88.24%", "recall of cat", "100.00%", "33.33%", "0.4873", "33.00%"):
        assert part in text


def test_answers_are_the_services(tmp_path):
    bundle = load(bundles.write(tmp_path / "bundle", classes=["red", "green"]))
    files = []
    for i in range(70):  # over two batches
        colour = (200, i, 0) if i % 3 else (i, 200, 0)
        files.append(tmp_path / f"{i}.png")
        Image.new("RGB", (60 + i, 40), colour).save(files[-1])
    (tmp_path / "turned.jpg").write_bytes(pictures.oriented(6))
    files.append(tmp_path / "turned.jpg")
    found = evaluate(bundle, [LabelledImage(path, 0, "", "test") for path in files], progress=False)
    predictor = Predictor(bundle)
    for path, row in zip(files, found.probabilities, strict=True):
        expected = predictor.predict(decode(path.read_bytes(), bundles.SIZE, "stretch")[np.newaxis])[0]
        np.testing.assert_allclose(row, expected, atol=1e-6)
    assert found.classes == ("red", "green") and [p.path for p in found.images] == files
    assert found.predictions[:4].tolist() == [1, 0, 0, 1]


@pytest.fixture
def red_and_green(tmp_path) -> Path:
    return draw(tmp_path / "data", {"green": (30, 200, 30), "red": (200, 30, 30)}, 40)


def test_command(red_and_green, tmp_path, capsys):
    folder = bundles.write(tmp_path / "bundle", classes=["green", "red"])
    # The bundle's first class is the picture's red: every answer is wrong, and the command says so.
    assert main([str(folder), "--data", str(red_and_green), "--split", "all"]) == 0
    out = capsys.readouterr().out
    assert "colours 1 on" in out and "(all)" in out
    assert "pictures             80" in out and "accuracy             0.00%" in out


def test_command_takes_few_pictures_as_a_whole_but_says_when_a_split_is_empty(tmp_path, capsys):
    folder = bundles.write(tmp_path / "bundle", classes=["green", "red"])
    data = draw(tmp_path / "few", {"green": (30, 200, 30), "red": (200, 30, 30)}, 1, seed=2)
    assert main([str(folder), "--data", str(data), "--split", "all"]) == 0
    assert main([str(folder), "--data", str(data), "--split", "validation"]) == 2
    assert "has no pictures in its validation split: choose --split all." in capsys.readouterr().err


def test_command_leaves_out_what_training_left_out(red_and_green, tmp_path, capsys):
    folder = bundles.write(tmp_path / "bundle", classes=["green", "red"])
    (tmp_path / "exclude.txt").write_text("green/00*\n")
    exclude = ["--exclude", str(tmp_path / "exclude.txt")]
    assert main([str(folder), "--data", str(red_and_green), "--split", "all", *exclude]) == 0
    assert "pictures             70" in capsys.readouterr().out


def test_command_refuses_other_classes_and_bad_bundles(red_and_green, tmp_path, capsys):
    folder = bundles.write(tmp_path / "bundle")
    assert main([str(folder), "--data", str(red_and_green)]) == 2
    assert "has the classes green, red, but the bundle knows red, green, blue." in capsys.readouterr().err
    (folder / "model.onnx").write_bytes(b"other")
    assert main([str(folder), "--data", str(red_and_green)]) == 2
    assert "model.onnx: SHA-256 is" in capsys.readouterr().err
    assert main([str(tmp_path / "none"), "--data", str(red_and_green)]) == 2
    assert "manifest.json: cannot be read" in capsys.readouterr().err

"""An evaluation gives the answers of the service."""

import numpy as np
from PIL import Image

from bundle.load import load
from bundle.predictor import Predictor
from bundle.preprocess import decode
from ml.data.dataset import LabelledImage
from ml.evaluation.evaluation import evaluate
from ml.evaluation.metrics import metrics
from tests import bundles, drawn_images


def test_evaluate_gives_the_answers_of_the_service(tmp_path):
    bundle = load(bundles.write(tmp_path / "bundle", classes=["red", "green"]))
    files = []
    for i in range(70):  # over two batches
        files.append(tmp_path / f"{i}.png")
        Image.new("RGB", (60 + i, 40), (200, i, 0) if i % 3 else (i, 200, 0)).save(files[-1])
    (tmp_path / "turned.jpg").write_bytes(drawn_images.oriented(6))
    files.append(tmp_path / "turned.jpg")
    found = evaluate(bundle, [LabelledImage(path, 0, "", "test") for path in files], progress=False)
    predictor = Predictor(bundle)
    for path, row in zip(files, found.probabilities, strict=True):
        expected = predictor.predict(decode(path.read_bytes(), bundles.SIZE, "stretch")[np.newaxis])[0]
        np.testing.assert_allclose(row, expected, atol=1e-6)
    assert found.classes == ("red", "green") and [image.path for image in found.images] == files
    assert found.predictions[:4].tolist() == [1, 0, 0, 1]


def test_evaluate_corrupts_first_and_records_flags_and_statistics(tmp_path):
    bundle = load(bundles.write(tmp_path / "bundle", classes=["red", "green"]))
    (tmp_path / "red.png").write_bytes(drawn_images.plain((200, 0, 0)))
    images = [LabelledImage(tmp_path / "red.png", 0, "", "test")]
    found = evaluate(bundle, images, progress=False)
    assert found.correct.all() and found.uncertain.tolist() == [False]
    assert abs(found.statistics["brightness"][0] - 200 * 0.299 / 255) < 2e-3
    corrupted = evaluate(bundle, images, progress=False, corrupt=lambda _: drawn_images.plain((255, 255, 0)))
    assert corrupted.uncertain.tolist() == [True] and metrics(corrupted).uncertain == 1

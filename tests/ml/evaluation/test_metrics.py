"""Metrics equal a calculation by hand."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml.data.dataset import LabelledImage
from ml.evaluation.evaluation import Evaluation
from ml.evaluation.metrics import metrics, summary

# Five images of cat (0) and dog (1). The answers for the third and the fifth are wrong.
LABELS = [0, 0, 1, 1, 1]
PROBABILITIES = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.1, 0.9], [0.55, 0.45]]


def evaluation(labels=LABELS, probabilities=PROBABILITIES, classes=("cat", "dog"), **statistics) -> Evaluation:
    rows = np.array(probabilities, np.float32)
    found = tuple(LabelledImage(Path(f"{i}.jpg"), label, str(i), "test") for i, label in enumerate(labels))
    return Evaluation(found, np.array(labels), rows, classes, statistics)


def test_metrics_equal_a_calculation_by_hand():
    values = metrics(evaluation())
    assert (values.pictures, values.accuracy, values.uncertain) == (5, 0.6, None)
    assert values.recall == pytest.approx({"cat": 1.0, "dog": 1 / 3})
    assert values.log_loss == pytest.approx(-sum(map(math.log, (0.9, 0.8, 0.3, 0.9, 0.45))) / 5, rel=1e-5)
    # Wilson: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    z, n, p = 1.959964, 5, 0.6
    middle, reach, scale = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)), 1 + z * z / n
    assert values.accuracy_ci95 == pytest.approx(((middle - reach) / scale, (middle + reach) / scale), abs=1e-5)
    assert values.recall_ci95["cat"] == pytest.approx((2 / (2 + z**2), 1.0))
    # Of 15 bins: 0.9 and 0.9 (both correct) in the 14th, then 0.8 (correct), 0.7 (wrong) and 0.55 (wrong) alone.
    bins = [(b.pictures, round(b.confidence, 3), b.accuracy) for b in values.calibration]
    assert bins == [(1, 0.55, 0.0), (1, 0.7, 0.0), (1, 0.8, 1.0), (2, 0.9, 1.0)]
    assert values.expected_calibration_error == pytest.approx((0.1 * 2 + 0.2 + 0.7 + 0.55) / 5, abs=1e-6)
    text = summary(values)
    for part in ("5", "60.00%", "23.07% to 88.24%", "recall of cat", "100.00%", "33.33%", "0.4873", "33.00%"):
        assert part in text


def test_metrics_of_full_confidence_are_finite():
    correct, wrong = (metrics(evaluation(labels, [[1, 0], [0, 1]])) for labels in ([0, 1], [1, 0]))
    assert (correct.accuracy, correct.expected_calibration_error) == (1, 0)
    assert correct.accuracy_ci95[1] == pytest.approx(1)
    assert (wrong.expected_calibration_error, wrong.log_loss) == (1, pytest.approx(-math.log(1e-7)))


def test_class_without_images_has_no_recall():
    assert metrics(evaluation([0, 0], [[0.9, 0.1], [0.4, 0.6]])).recall == {"cat": 0.5}


def test_worst_mistakes_come_first_with_their_unusual_traits():
    rows = [[0.9, 0.1]] * 40
    rows[3], rows[5] = [0.2, 0.8], [0.1, 0.9]
    brightness = np.linspace(0.4, 0.6, 40, dtype=np.float32)
    sharpness = np.linspace(0.1, 0.2, 40, dtype=np.float32)
    brightness[3], brightness[5], sharpness[3], sharpness[5] = 0.02, 0.01, 0.15, 0.9
    found = replace(evaluation([0] * 40, rows), statistics={"brightness": brightness, "sharpness": sharpness})
    first, second = metrics(found).worst_mistakes
    assert (first.label, first.predicted, first.confidence) == ("cat", "dog", pytest.approx(0.9))
    assert first.picture.endswith("5.jpg") and first.traits == ["dark", "busy"]
    assert second.picture.endswith("3.jpg") and second.traits == ["dark"]

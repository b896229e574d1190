"""The reference equals a calculation by hand."""

import numpy as np
import pytest

from bundle.signals import SIGNALS
from ml.evaluation.reference import reference

# Five answers: cat four times, dog once.
PROBABILITIES = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.1, 0.9], [0.55, 0.45]]


def describe(probabilities=PROBABILITIES, classes=("cat", "dog"), uncertain=None, **signals):
    rows = np.array(probabilities, np.float32)
    values = {"confidence": rows.max(1), "label": rows.argmax(1)} | signals
    columns = [values.get(name, np.zeros(len(rows))) for name in SIGNALS]
    return reference(classes, rows, np.array(columns, np.float32).T, uncertain)


def test_reference_has_the_shares_of_classes_and_confidences():
    found = describe()
    assert found.predicted_classes == pytest.approx({"cat": 0.8, "dog": 0.2})
    assert found.confidence_bins[0] == 0.5 and found.confidence_bins[-1] == 1 and len(found.confidence_bins) == 21
    assert sum(found.confidence_shares) == pytest.approx(1)
    # Edges at 0.025 steps: 0.55, 0.7, 0.8 and twice 0.9.
    shares = {round(e, 3): s for e, s in zip(found.confidence_bins, found.confidence_shares, strict=False) if s}
    assert sum(s for e, s in shares.items() if e > 0.85) == pytest.approx(0.4)
    assert sum(s for e, s in shares.items() if e < 0.75) == pytest.approx(0.4)


def test_reference_counts_values_beyond_an_edge():
    just_below = np.nextafter(np.float32(1 / 3), np.float32(0))
    assert describe([[just_below] * 3] * 2, ("a", "b", "c")).confidence_shares[0] == 1
    found = describe(sharpness=np.array([0.0, 0.24, 0.26, 3.0, 0.1], np.float32)).pictures["sharpness"]
    assert found.bins[0] == 0 and found.bins[-1] == 0.25 and sum(found.shares) == pytest.approx(1)
    assert found.shares[-1] == pytest.approx(0.6)


def test_reference_has_the_moments_and_flags():
    found = describe(uncertain=np.array([True, False, False, False, False]))
    confidences = [0.9, 0.8, 0.7, 0.9, 0.55]
    assert (found.images, found.uncertain) == (5, pytest.approx(0.2))
    assert found.confidence.mean == pytest.approx(np.mean(confidences))
    assert found.confidence.deviation == pytest.approx(np.std(confidences))
    assert describe().uncertain is None


def test_bins_hold_about_the_same_share():
    values = np.random.default_rng(0).random(5).astype(np.float32)
    found = describe(brightness=values).signals
    assert found["brightness"].edges == pytest.approx(sorted(values)[:-1])
    assert found["brightness"].shares == pytest.approx([0.2] * 5)
    assert found["label"].edges == [0] and found["label"].shares == pytest.approx([0.8, 0.2])


def test_unknown_signals_are_left_out():
    assert "out_of_distribution" not in describe(out_of_distribution=np.full(5, np.nan)).signals

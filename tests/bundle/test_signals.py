import numpy as np
import pytest

from bundle.manifest import Quantiles, Reference
from bundle.signals import BINS, POSITIONS, SIGNALS, Bins, bins_of, measure, to_quantiles


def places(quantiles, values):
    bins = Bins(quantiles)
    return np.array([bins.place(value) for value in values])


def test_values_of_the_reference_are_spread_evenly():
    values = np.random.default_rng(0).lognormal(size=4000)
    quantiles = to_quantiles(values)
    assert len(quantiles.shares) == BINS and quantiles.shares == pytest.approx([1 / BINS] * BINS, abs=1e-3)
    assert np.bincount(places(quantiles, values), minlength=BINS + 1)[1:] == pytest.approx(200, abs=2)
    assert Bins(quantiles).cumulative() == pytest.approx(POSITIONS, abs=1e-3)


def test_equal_values_are_never_divided():
    values = [0.0] * 30 + [0.5] * 5 + [1.0] * 65
    quantiles = to_quantiles(values)
    assert quantiles.edges == [0.0, 0.5] and quantiles.shares == pytest.approx([0.3, 0.05, 0.65])
    found = places(quantiles, [-1, 0, 0.25, 0.5, 0.7, 1, 9])
    assert found.tolist() == [6, 6, 7, 7, 20, 20, 20]
    shares = dict(zip(POSITIONS, Bins(quantiles).cumulative(), strict=True))
    assert (shares[0.25], shares[0.3], shares[0.95], shares[1.0]) == pytest.approx((0, 0.3, 0.35, 1))


@pytest.mark.parametrize("values", [[5.0], [5.0] * 100, [1.0, 2.0], list(range(7))])
def test_cumulative_shares_are_those_of_the_counted_places(values):
    quantiles = to_quantiles(values)
    counted = np.bincount(places(quantiles, values), minlength=BINS + 1)[1:].cumsum() / len(values)
    assert counted == pytest.approx(Bins(quantiles).cumulative())


def test_measured_signals_are_in_order_and_unknown_ones_are_nan():
    pixels = np.full((2, 8, 8, 3), 255, np.uint8)
    pixels[1] = 0
    rows = measure(pixels, np.array([[0.9, 0.1], [0.25, 0.75]], np.float32), None)
    found = dict(zip(SIGNALS, rows.T.tolist(), strict=True))
    assert found["brightness"] == pytest.approx([1, 0]) and found["contrast"] == pytest.approx([0, 0], abs=1e-6)
    assert found["confidence"] == pytest.approx([0.9, 0.75]) and found["label"] == [0, 1]
    assert np.isnan(found["out_of_distribution"]).all()
    scored = measure(pixels, np.ones((2, 1), np.float32), np.array([0.2, 0.3], np.float32))
    assert scored[:, SIGNALS.index("out_of_distribution")].tolist() == pytest.approx([0.2, 0.3])


def test_older_reference_has_no_bins():
    older = Reference(predicted_classes={}, confidence_bins=[0, 1], confidence_shares=[1])
    assert bins_of(older) == bins_of(None) == {}


@pytest.mark.parametrize("fields", [{"edges": [1], "shares": [1]}, {"edges": [2, 1], "shares": [0.2, 0.3, 0.5]}])
def test_inconsistent_quantiles_are_refused(fields):
    with pytest.raises(ValueError, match="edges"):
        Quantiles(**fields)

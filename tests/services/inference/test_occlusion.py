import numpy as np
import pytest

from services.inference.occlusion import SIDE, explain

SIZE = 70


class Model:
    """Its second class is the more probable, the more white there is in one place; counts its runs."""

    def __init__(self, place, weight=8.0):
        self.place, self.weight = place, weight
        self.batches = []

    def classify(self, pixels):
        self.batches.append(pixels.shape)
        white = (pixels[:, *self.place] / 255).mean((1, 2, 3))
        second = 1 / (1 + np.exp(-self.weight * (white - 0.5)))
        return np.stack([1 - second, second], 1).astype(np.float32)


def explain_white(model):
    pixels = np.full((SIZE, SIZE, 3), 255, np.uint8)
    (row,) = model.classify(pixels[None])
    heat_map = explain(pixels, row, model.classify)
    assert (pixels == 255).all(), "the image of the caller is changed"
    return row, heat_map


def test_part_that_decides_is_hottest_and_others_are_cold():
    row, heat_map = explain_white(model := Model((slice(50, 60), slice(20, 30))))
    assert np.unravel_index(heat_map.values.argmax(), (SIDE, SIDE)) == (5, 2)
    assert heat_map.values.max() == 1
    assert heat_map.values[:4].max() == heat_map.values[:, 4:].max() == 0
    assert heat_map.lowest_confidence < 0.6 < row[1]
    assert model.batches == [(1, SIZE, SIZE, 3)] * (1 + SIDE**2)


def test_part_in_a_corner_is_found():
    _, heat_map = explain_white(Model((slice(0, 8), slice(62, 70))))
    assert np.unravel_index(heat_map.values.argmax(), (SIDE, SIDE)) == (0, SIDE - 1)


@pytest.mark.parametrize("weight", [0.0, 0.05, -8.0])
def test_map_is_cold_where_no_part_decides(weight):
    row, heat_map = explain_white(Model((slice(20, 30), slice(20, 30)), weight))
    if weight < 0:  # its label is the first class, and grey instead of white would make that less probable
        assert row.argmax() == 0
        assert heat_map.values.max() == 1
    else:
        assert not heat_map.values.any()


def test_certain_answer_still_has_a_map():
    row, heat_map = explain_white(Model((slice(50, 60), slice(20, 30)), weight=80))
    assert row[1] == 1, "no digits left beside 1"
    assert heat_map.values[5, 2] == 1


def test_values_are_shares_of_the_strongest_fall():
    _, heat_map = explain_white(Model((slice(0, SIZE), slice(0, SIZE))))
    assert 0 <= heat_map.values.min() < heat_map.values.max() == 1
    assert heat_map.values[0, 0] < heat_map.values[3, 3], "a patch at the border covers less"

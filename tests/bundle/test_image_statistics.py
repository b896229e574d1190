import numpy as np
import pytest

from bundle.image_statistics import RANGES, statistics


def one(pixels: np.ndarray) -> dict[str, float]:
    return {name: float(values[0]) for name, values in statistics(pixels[np.newaxis].astype(np.uint8)).items()}


def test_black_white_and_halves():
    square = np.zeros((10, 10, 3))
    assert one(square) == {"brightness": 0, "contrast": 0, "sharpness": 0}
    assert one(square + 255) == pytest.approx({"brightness": 1, "contrast": 0, "sharpness": 0}, abs=1e-5)
    square[:, 5:] = 255
    # One of nine steps across is from black to white, none down.
    assert one(square) == pytest.approx({"brightness": 0.5, "contrast": 0.5, "sharpness": 1 / 18}, abs=1e-5)


def test_brightness_weighs_colours_as_the_eye():
    red, green = (np.zeros((4, 4, 3)) for _ in range(2))
    red[..., 0], green[..., 1] = 255, 255
    assert one(red)["brightness"] == pytest.approx(0.299, abs=1e-3)
    assert one(green)["brightness"] == pytest.approx(0.587, abs=1e-3)


def test_each_image_has_its_own_statistics_in_range():
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    images[2] = 7
    found = statistics(images)
    assert found.keys() == RANGES.keys()
    for name, values in found.items():
        low, high = RANGES[name]
        assert values.shape == (5,) and (low <= values).all()
        assert (values <= high).all() or name == "sharpness", "noise is rougher than any photo"
    assert found["contrast"][2] == pytest.approx(0, abs=1e-6) and (np.delete(found["contrast"], 2) > 0.1).all()

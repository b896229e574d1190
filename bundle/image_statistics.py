"""Compute simple statistics of decoded images, to detect drift."""

import numpy as np
from numpy.typing import NDArray

# Limits of each statistic, for histograms with fixed edges.
RANGES = {"brightness": (0.0, 1.0), "contrast": (0.0, 0.5), "sharpness": (0.0, 0.25)}

_GREY = np.array([0.299, 0.587, 0.114], np.float32) / 255  # ITU-R BT.601, as Pillow's greyscale


def statistics(pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Compute brightness, contrast and sharpness of images.

    Args:
        pixels: RGB from ``preprocess.decode``, shape ``(n, size, size, 3)``.

    Returns:
        For each name of ``RANGES`` one value per image, shape ``(n,)``: the mean of the grey values (0 black, 1 white),
        their standard deviation, and the mean difference of neighbours (low when blurred, high when noisy).
    """
    grey = pixels @ _GREY
    rough = np.abs(np.diff(grey, axis=1)).mean((1, 2)) + np.abs(np.diff(grey, axis=2)).mean((1, 2))
    return {"brightness": grey.mean((1, 2)), "contrast": grey.std((1, 2)), "sharpness": rough / 2}

"""Compute simple statistics of decoded images, to detect drift."""

import numpy as np
from numpy.typing import NDArray

# Limits of each statistic, for histograms with fixed edges.
RANGES = {"brightness": (0.0, 1.0), "contrast": (0.0, 0.5), "sharpness": (0.0, 0.25)}

_GREY = np.array([0.299, 0.587, 0.114], np.float32) / 255  # ITU-R BT.601, as Pillow's greyscale
# Two neighbouring rows of four: every request pays for these statistics.
_STEP = 4


def statistics(pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Compute brightness, contrast and sharpness of images, from every fourth row and the row below it.

    Args:
        pixels: RGB from ``preprocess.decode``, shape ``(n, size, size, 3)``, with at least two rows.

    Returns:
        For each name of ``RANGES`` one value per image, shape ``(n,)``: the mean of the grey values (0 black, 1 white),
        their standard deviation, and the mean difference of neighbours (low when blurred, high when noisy).
    """
    grey = pixels[:, :-1:_STEP] @ _GREY
    across = np.abs(grey[:, :, 1:] - grey[:, :, :-1]).mean((1, 2))
    down = np.abs(pixels[:, 1::_STEP] @ _GREY - grey).mean((1, 2))
    return {"brightness": grey.mean((1, 2)), "contrast": grey.std((1, 2)), "sharpness": (across + down) / 2}

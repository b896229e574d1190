"""Simple numbers of a decoded picture, to notice when what people send is no longer what was trained on."""

import numpy as np
from numpy.typing import NDArray

# Limits within which each number lies, for histograms with fixed edges.
RANGES = {"brightness": (0.0, 1.0), "contrast": (0.0, 0.5), "sharpness": (0.0, 0.25)}

_GREY = np.array([0.299, 0.587, 0.114], np.float32) / 255  # ITU-R BT.601, as Pillow's greyscale


def statistics(pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Describe pictures.

    Args:
        pixels: RGB from ``image.decode``, shape ``(n, size, size, 3)``.

    Returns:
        For each name of ``RANGES`` one value per picture, shape ``(n,)``: the mean of the grey values (0 black, 1
        white), their standard deviation, and the mean distance of neighbours (low when blurred, high when noisy).
    """
    grey = pixels @ _GREY
    rough = np.abs(np.diff(grey, axis=1)).mean((1, 2)) + np.abs(np.diff(grey, axis=2)).mean((1, 2))
    return {"brightness": grey.mean((1, 2)), "contrast": grey.std((1, 2)), "sharpness": rough / 2}

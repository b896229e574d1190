"""Turn probabilities into an answer: label, confidence, probabilities by class."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

DECIMALS = 6


def to_answer(classes: list[str], row: NDArray[np.float32]) -> dict[str, Any]:
    """Name the probabilities of one image; rounded, they still add up to 1.

    Args:
        classes: In output order.
        row: Probabilities, shape ``(classes,)``.
    """
    exact = row.tolist()
    total = sum(exact)
    rounded = [round(one / total, DECIMALS) for one in exact]
    top = rounded.index(max(rounded))
    rounded[top] = round(rounded[top] + 1 - sum(rounded), DECIMALS)
    probabilities = dict(zip(classes, rounded, strict=True))
    return {"label": classes[top], "confidence": rounded[top], "probabilities": probabilities}

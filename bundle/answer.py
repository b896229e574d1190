"""What an answer says of one picture; apart from the routes, for who needs no server."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

DECIMALS = 6


def to_answer(classes: list[str], row: NDArray[np.float32]) -> dict[str, Any]:
    """Name the numbers of one picture; rounded, they still add up to 1."""
    exact = row.tolist()
    whole = sum(exact)
    rounded = [round(one / whole, DECIMALS) for one in exact]
    top = rounded.index(max(rounded))
    rounded[top] = round(rounded[top] + 1 - sum(rounded), DECIMALS)
    probabilities = dict(zip(classes, rounded, strict=True))
    return {"label": classes[top], "confidence": rounded[top], "probabilities": probabilities}

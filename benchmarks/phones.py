"""Photos of 12 megapixels, as phones take them: how fast, and whether scaled decoding changes the answer."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks import photos
from benchmarks.classifier import Classifier

MEGAPIXELS = 12.0


@dataclass(frozen=True)
class Difference:
    """How far probabilities move when a JPEG is decoded at a smaller scale."""

    pictures: int
    greatest: float
    p99: float


def difference(pictures: Sequence[bytes], bar: "tqdm[Any]", megapixels: float = MEGAPIXELS) -> Difference:
    """Compare the answer for each enlarged photo with the one for the same pixels as a BMP, which has only one scale.

    Enlarged photos have less detail than a phone's, so that a phone's may differ by more.

    Args:
        pictures: Encoded photos of any size.
        bar: Moves on by one for each.
        megapixels: To which they are enlarged.
    """
    classifier = Classifier()
    moved = []
    for large in photos.enlarge(pictures, megapixels):
        scaled = classifier.probabilities(large)
        file = io.BytesIO()
        Image.open(io.BytesIO(large)).save(file, "BMP")
        whole = classifier.probabilities(file.getvalue())
        moved.append(max(abs(scaled[name] - whole[name]) for name in scaled))
        bar.update()
    return Difference(len(moved), max(moved), float(np.percentile(moved, 99)))

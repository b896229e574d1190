"""A picture's way to an answer without a server around it: the limit, and what the other servers are given to serve."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bundle import load as bundle_folder
from bundle.predictor import Predictor
from bundle.preprocess import decode


class Classifier:
    """The service's own decoding and model, on one thread."""

    def __init__(self) -> None:
        """Load the bundle of ``MODEL_DIR``, by default the shipped one.

        Raises:
            BundleError: It cannot be used.
        """
        self._predictor = Predictor(bundle_folder.load(Path(os.environ.get("MODEL_DIR", "models/champion"))))

    def probabilities(self, picture: bytes) -> dict[str, float]:
        """Classify an encoded picture: its probability for each class.

        Raises:
            ImageError: It is no picture that can be decoded.
        """
        (answer,) = self.batch([picture])
        return answer

    def batch(self, pictures: Sequence[bytes]) -> list[dict[str, float]]:
        """Classify encoded pictures in one run of the model.

        Raises:
            ImageError: One of them is no picture that can be decoded.
        """
        manifest = self._predictor.manifest
        pixels = np.stack([decode(picture, manifest.input.size, manifest.input.resize) for picture in pictures])
        return [dict(zip(manifest.classes, row.tolist(), strict=True)) for row in self._predictor.predict(pixels)]

"""Classification without a server: for the in-process limit, and as the model of LitServe and BentoML."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bundle.load import load
from bundle.predictor import Predictor
from bundle.preprocess import decode


class Classifier:
    """The decoder and the model of the service, on one thread."""

    def __init__(self, folder: Path | None = None) -> None:
        """Load a bundle, by default the one in ``MODEL_DIR`` or the shipped one.

        Raises:
            BundleError: The bundle is not valid.
        """
        self._predictor = Predictor(load(folder or Path(os.environ.get("MODEL_DIR", "models/champion"))))
        self.manifest = self._predictor.manifest

    def probabilities(self, image: bytes) -> dict[str, float]:
        """Classify an encoded image; return the probability of each class.

        Raises:
            ImageError: The image cannot be decoded.
        """
        return self.batch([image])[0]

    def batch(self, images: Sequence[bytes]) -> list[dict[str, float]]:
        """Classify encoded images in one run of the model.

        Raises:
            ImageError: An image cannot be decoded.
        """
        shape, classes = self.manifest.input, self.manifest.classes
        pixels = np.stack([decode(image, shape.size, shape.resize) for image in images])
        return [dict(zip(classes, row.tolist(), strict=True)) for row in self._predictor.predict(pixels)]

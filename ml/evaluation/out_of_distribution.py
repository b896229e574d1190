"""Measure how well a bundle flags images of none of its classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bundle.load import Bundle
from bundle.manifest import Neither
from bundle.predictor import Predictor
from bundle.preprocess import ImageError, decode
from ml.data.dataset import DataError
from ml.data.scan import CHECK_SIZE

SURE = 0.99


def read(folders: Sequence[Path]) -> dict[str, list[bytes]]:
    """Read the image files of folders, by folder name.

    Raises:
        DataError: A folder cannot be read, is empty, or holds other files.
    """
    kinds = {}
    for folder in folders:
        try:
            files = [path.read_bytes() for path in sorted(folder.iterdir())]
            for data in files:
                decode(data, CHECK_SIZE, "stretch")
        except (OSError, ImageError) as error:
            raise DataError(f"{folder} is not a folder of images only ({error}).") from error
        if not files:
            raise DataError(f"{folder} holds no images.")
        kinds[folder.name] = files
    return kinds


def measure(bundle: Bundle, kinds: Mapping[str, Sequence[bytes]]) -> dict[str, Neither]:
    """Measure how many encoded images of none of the classes are flagged, by kind."""
    predictor, shape = Predictor(bundle), bundle.manifest.input
    shares = {}
    for kind, files in kinds.items():
        pixels = np.stack([decode(data, shape.size, shape.resize) for data in files])
        probabilities, uncertain = predictor.answer(pixels)
        assert uncertain is not None, "the bundle has limits"
        sure = (probabilities.max(1) >= SURE).mean()
        shares[kind] = Neither(pictures=len(files), uncertain=float(uncertain.mean()), sure=float(sure))
    return shares

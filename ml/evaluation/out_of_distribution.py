"""Measure how well a bundle flags images of none of its classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bundle.load import Bundle
from bundle.manifest import Neither
from bundle.predictor import Predictor
from bundle.preprocess import decode
from ml.data.dataset import DataError
from ml.data.files import UnusableError, is_ignored, load
from ml.data.scan import CHECK_SIZE

SURE = 0.99


def read(folders: Mapping[str, Path]) -> dict[str, list[bytes]]:
    """Read the image files of folders, by the folders' names.

    Raises:
        DataError: A folder cannot be read, is empty, or holds other files.
    """
    kinds = {}
    for name, folder in folders.items():
        try:
            paths = [path for path in sorted(folder.iterdir()) if not is_ignored(path.name)]
        except OSError as error:
            raise DataError(f"{folder} cannot be read ({error.strerror}): give a folder of images.") from error
        if not paths:
            raise DataError(f"{folder} holds no images.")
        kinds[name] = [_read_image(path) for path in paths]
    return kinds


def _read_image(path: Path) -> bytes:
    try:
        data, _ = load(path, CHECK_SIZE, "stretch")
    except UnusableError as error:
        raise DataError(
            f"{path.parent} is not a folder of images only, since {path.name} is {error.reason}: move it away."
        ) from error
    return data


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

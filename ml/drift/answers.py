"""Answer the images of a folder with a bundle, as the service would, and keep their signals."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bundle import signals
from bundle.load import Bundle
from bundle.predictor import Predictor
from ml.data.files import UnusableError, load, walk
from ml.errors import UserError


class NoImagesError(UserError):
    """A folder has no usable image."""


@dataclass(frozen=True)
class Answers:
    """Answers for ``n`` images.

    Attributes:
        probabilities: Shape ``(n, classes)``.
        signals: From ``bundle.signals.measure``.
        uncertain: A flag per image, shape ``(n,)``; None if the bundle sets no limits.
        unusable: Number of files that the service would refuse.
    """

    probabilities: NDArray[np.float32]
    signals: NDArray[np.float32]
    uncertain: NDArray[np.bool_] | None
    unusable: int = 0


def answer_folder(bundle: Bundle, folder: Path, progress: bool = True) -> Answers:
    """Answer every image below a folder.

    Raises:
        NoImagesError: There is none.
    """
    if not folder.is_dir():
        raise NoImagesError(f"{folder} is not a folder. Name a folder of images.")
    return answer_files(bundle, [path for path, error in walk(folder) if error is None], folder, progress)


def answer_files(bundle: Bundle, files: Sequence[Path], folder: Path, progress: bool = True) -> Answers:
    """Answer every image among the files of a folder.

    Raises:
        NoImagesError: There is none.
    """
    predictor, settings = Predictor(bundle), bundle.manifest.input

    def answer(path: Path) -> Answers | None:
        try:
            _, pixels = load(path, settings.size, settings.resize)
        except UnusableError:
            return None
        return answer_pixels(predictor, pixels[np.newaxis])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(tqdm(pool.map(answer, files), "answering", len(files), unit=" files", disable=not progress))
    rows = [one for one in found if one]
    if not rows:
        raise NoImagesError(f"{folder} has no image that the service accepts, of {len(files)} files.")
    return join(rows, len(found) - len(rows))


def answer_pixels(predictor: Predictor, pixels: NDArray[np.uint8]) -> Answers:
    """Answer decoded images, shape ``(n, size, size, 3)``."""
    probabilities, uncertain, scores = predictor.answer_with_scores(pixels)
    return Answers(probabilities, signals.measure(pixels, probabilities, scores), uncertain)


def join(parts: Sequence[Answers], unusable: int = 0) -> Answers:
    """Join the answers of one bundle."""
    flags = [part.uncertain for part in parts if part.uncertain is not None]
    return Answers(
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.signals for part in parts]),
        np.concatenate(flags) if flags else None,
        unusable,
    )

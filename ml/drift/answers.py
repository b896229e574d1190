"""Answer the images of a folder with a bundle, as the service would, and keep their signals."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bundle import signals
from bundle.load import Bundle
from bundle.predictor import Predictor
from bundle.signals import Outputs
from ml.data.files import UnusableError, load, walk
from ml.errors import UserError


class NoImagesError(UserError):
    """A folder has no usable image."""


def answer_folder(bundle: Bundle, folder: Path, progress: bool = True) -> tuple[Outputs, int]:
    """Answer every image below a folder; see ``answer_files``.

    Raises:
        NoImagesError: There is none.
    """
    if not folder.is_dir():
        raise NoImagesError(f"{folder} is not a folder. Name a folder of images.")
    return answer_files(bundle, [path for path, error in walk(folder) if error is None], folder, progress)


def answer_files(bundle: Bundle, files: Sequence[Path], folder: Path, progress: bool = True) -> tuple[Outputs, int]:
    """Answer every image among the files of a folder.

    Returns:
        The outputs, and the number of files that the service would refuse.

    Raises:
        NoImagesError: There is none.
    """
    predictor, settings = Predictor(bundle), bundle.manifest.input

    def answer(path: Path) -> Outputs | None:
        try:
            _, pixels = load(path, settings.size, settings.resize)
        except UnusableError:
            return None
        return signals.answer(predictor, pixels[np.newaxis])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(tqdm(pool.map(answer, files), "answering", len(files), unit=" files", disable=not progress))
    rows = [one for one in found if one]
    if not rows:
        raise NoImagesError(f"{folder} has no image that the service accepts, of {len(files)} files.")
    return signals.join(rows), len(found) - len(rows)

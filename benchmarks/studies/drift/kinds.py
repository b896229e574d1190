"""Kinds of images: clean ones, and each change that the rules should notice."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter, ImageOps
from tqdm import tqdm

from bundle.load import Bundle
from bundle.predictor import Predictor
from bundle.preprocess import decode
from bundle.signals import Outputs, answer, join
from ml.data.dataset import LabelledImage
from ml.evaluation.robustness import CORRUPTIONS

CLEAN = "clean"
ONE_CLASS = "one class only"
PEOPLE = "people instead of pets"
PENCIL = 4  # pixels


def draw(data: bytes) -> bytes:
    """Turn a photo into a pencil drawing: its grey values divided by their blurred negative."""
    grey = ImageOps.grayscale(Image.open(io.BytesIO(data)).convert("RGB"))
    blurred = np.asarray(ImageOps.invert(grey).filter(ImageFilter.GaussianBlur(PENCIL)), np.float32)
    lines = np.asarray(grey, np.float32) * 255 / (256 - blurred)
    file = io.BytesIO()
    drawing = Image.fromarray(lines.clip(0, 255).astype(np.uint8))
    ImageChops.multiply(drawing, drawing).convert("RGB").save(file, "JPEG", quality=95)
    return file.getvalue()


# Each is a function of a file's bytes.
CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "night": CORRUPTIONS["a quarter of the light, with noise"],
    "blur": CORRUPTIONS["blurred by 1/150 of the longer side"],
    "turned by 90°": CORRUPTIONS["turned by 90°, EXIF does not"],
    "drawings": draw,
}


@dataclass(frozen=True)
class Pool:
    """Images of one kind with their answers; windows are drawn from them.

    Attributes:
        files: Encoded images.
        labels: Class indices, shape ``(n,)``; -1 where an image is of no class.
        answers: The bundle's answers, by the service's own code.
    """

    files: Sequence[bytes]
    labels: NDArray[np.int64]
    answers: Outputs

    @property
    def accuracy(self) -> float:
        """Share of right answers; an image of no class has none."""
        return float((self.answers.probabilities.argmax(1) == self.labels).mean())

    def of_label(self, label: int) -> "Pool":
        """Return the images of one class."""
        chosen = np.flatnonzero(self.labels == label)
        return Pool([self.files[i] for i in chosen.tolist()], self.labels[chosen], self.answers.rows(chosen))


def pools(bundle: Bundle, images: Sequence[LabelledImage], people: Path, changed: int, cache: Path) -> dict[str, Pool]:
    """Answer all kinds of images.

    Args:
        bundle: The model.
        images: Clean images that the reference does not hold.
        people: Folder of photos of people.
        changed: Most images of each changed kind, evenly spread.
        cache: Folder for the answers, which take minutes.
    """
    photos, labels = [image.path.read_bytes() for image in images], np.array([image.label for image in images])
    chosen = np.linspace(0, len(photos) - 1, min(changed, len(photos))).astype(int)
    found = {CLEAN: _pool(bundle, CLEAN, photos, labels, cache)}
    for kind, change in CHANGES.items():
        found[kind] = _pool(bundle, kind, [change(photos[i]) for i in chosen.tolist()], labels[chosen], cache)
    found[ONE_CLASS] = found[CLEAN].of_label(0)
    strangers = [path.read_bytes() for path in sorted(people.iterdir())]
    found[PEOPLE] = _pool(bundle, PEOPLE, strangers, np.full(len(strangers), -1), cache)
    return found


def _pool(bundle: Bundle, kind: str, files: Sequence[bytes], labels: NDArray[np.int64], cache: Path) -> Pool:
    known = cache / f"{bundle.manifest.version}-{kind.replace(' ', '-')}-{len(files)}.npz"
    if known.exists():
        with np.load(known) as saved:
            return Pool(files, labels, Outputs(saved["probabilities"], saved["uncertain"], saved["signals"]))
    predictor, shape = Predictor(bundle, threads=2), bundle.manifest.input
    answers = join(
        [
            answer(predictor, decode(data, shape.size, shape.resize)[np.newaxis])
            for data in tqdm(files, kind, unit=" images")
        ]
    )
    cache.mkdir(parents=True, exist_ok=True)
    assert answers.uncertain is not None, "the bundle has limits"
    np.savez(known, probabilities=answers.probabilities, signals=answers.signals, uncertain=answers.uncertain)
    return Pool(files, labels, answers)

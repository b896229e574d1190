"""Evaluate a bundle on labelled images, with the service's own decoding and ONNX Runtime."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bundle import signals
from bundle.image_statistics import RANGES
from bundle.load import Bundle
from bundle.predictor import Predictor
from bundle.preprocess import decode
from ml.data.dataset import LabelledImage

BATCH = 32


@dataclass(frozen=True)
class Evaluation:
    """A bundle's answers for labelled images.

    Attributes:
        images: The images, in order.
        labels: Their class indices, shape ``(n,)``.
        probabilities: The answers, shape ``(n, classes)``.
        classes: Class names in output order.
        statistics: Values of ``bundle.image_statistics`` by name, each of shape ``(n,)``.
        uncertain: Whether the service flags each answer, shape ``(n,)``; None if the bundle has no limits for it.
        signals: From ``bundle.signals.measure``, one row per image.
    """

    images: tuple[LabelledImage, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    classes: tuple[str, ...]
    statistics: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    uncertain: NDArray[np.bool_] | None = None
    signals: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, len(signals.SIGNALS)), np.float32))

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The most likely class of each image, shape ``(n,)``."""
        return self.probabilities.argmax(1)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each answer is correct, shape ``(n,)``."""
        return self.predictions == self.labels

    @property
    def confidences(self) -> NDArray[np.float32]:
        """The probability of each answer, shape ``(n,)``."""
        return self.probabilities.max(1)

    @property
    def mistakes(self) -> NDArray[np.int64]:
        """Indices of the wrong answers, the most confident first."""
        wrong = np.flatnonzero(~self.correct)
        return wrong[np.argsort(-self.confidences[wrong], kind="stable")]


def evaluate(
    bundle: Bundle,
    images: Sequence[LabelledImage],
    progress: bool = True,
    corrupt: Callable[[bytes], bytes] = lambda data: data,
) -> Evaluation:
    """Run a bundle on at least one image exactly as the service would; each file's bytes pass ``corrupt`` first.

    Raises:
        BundleError: The bundle's model and manifest do not match.
    """
    predictor = Predictor(bundle)
    settings = bundle.manifest.input

    def answer(batch: Sequence[LabelledImage]) -> signals.Outputs:
        pixels = np.stack([decode(corrupt(i.path.read_bytes()), settings.size, settings.resize) for i in batch])
        return signals.answer(predictor, pixels)

    batches = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
    # Threads, since decoding and ONNX Runtime both release the GIL.
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(images), desc="evaluating", unit=" images", disable=not progress) as bar,
    ):
        answers = []
        for one in pool.map(answer, batches):
            answers.append(one)
            bar.update(len(one.probabilities))
    found = signals.join(answers)
    return Evaluation(
        tuple(images),
        np.array([image.label for image in images]),
        found.probabilities,
        tuple(bundle.manifest.classes),
        {name: found.signals[:, signals.SIGNALS.index(name)] for name in RANGES},
        found.uncertain,
        found.signals,
    )

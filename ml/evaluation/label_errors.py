"""Find label errors, for a person to review: ``python -m ml.evaluation.label_errors``.

By cross-validation, each image is predicted by a network trained without it. A confident prediction of another class is
a probable label error.
"""

import argparse
import csv
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold

from bundle.preprocess import ImageError
from ml.data import exclude
from ml.data.dataset import Dataset, LabelledImage
from ml.data.scan import scan
from ml.errors import UserError
from ml.evaluation.plots import image_grid
from ml.model.architectures import build
from ml.model.catalog import SLIM
from ml.training.config import TrainingConfig
from ml.training.loader import Pixels, plain_batches
from ml.training.temperature_scaling import fit_temperature
from ml.training.trainer import fit

# A small, short training: label errors that a person sees are visible at 64 pixels.
CONFIG = TrainingConfig(architecture=SLIM, size=64, train_size=64, crop=0.4, epochs=12, learning_rate=3e-3, patience=12)
DECODED_SIDE = 80
NAME = "label_errors"
PER_SHEET = 48


@dataclass(frozen=True)
class LabelError:
    """An image whose label is probably wrong, and the probability of the predicted class."""

    image: LabelledImage
    label: str
    predicted: str
    probability: float


def find(
    data: Dataset, folds: int, min_probability: float, cache: Path, config: TrainingConfig = CONFIG
) -> list[LabelError]:
    """Find label errors in the training and validation images.

    The test images are excluded: a test set without the images that networks find hard would flatter them.

    Returns:
        Images predicted as another class with at least ``min_probability``, the most confident first.
    """
    images = [image for image in data.images if image.split != "test"]
    labels = np.array([image.label for image in images])
    probabilities = np.empty((len(images), len(data.classes)))
    splits = StratifiedKFold(folds, shuffle=True, random_state=config.seed).split(labels, labels)
    for fold, (rest, held_out) in enumerate(splits, 1):
        training = Pixels([images[i] for i in rest], DECODED_SIDE, config.resize, cache, f"fold {fold}")
        validation = Pixels([images[i] for i in held_out], config.size, config.resize, cache, f"fold {fold}, held out")
        probabilities[held_out] = _predict(training, validation, len(data.classes), config)
    predictions, confidences = probabilities.argmax(1), probabilities.max(1)
    errors = [
        LabelError(images[i], data.classes[labels[i]], data.classes[predictions[i]], float(confidences[i]))
        for i in np.flatnonzero((predictions != labels) & (confidences >= min_probability))
    ]
    return sorted(errors, key=lambda error: -error.probability)


def _predict(training: Pixels, validation: Pixels, classes: int, config: TrainingConfig) -> torch.Tensor:
    """Train a network and predict probabilities ``(n, classes)`` of images it has not seen."""
    device = torch.device("cpu")
    torch.manual_seed(config.seed)
    network = build(config.architecture, classes)
    with tempfile.TemporaryDirectory() as folder:
        network.load_state_dict(fit(network, training, validation, config, device, Path(folder)).best)
    network.eval()
    with torch.inference_mode():
        logits = torch.cat([network(batch) for batch, _ in plain_batches(validation, device)])
    return (logits / fit_temperature(logits, validation.labels)).softmax(1)


def write(folder: Path, errors: Sequence[LabelError]) -> None:
    """Write ``label_errors.csv`` and contact sheets ``label_errors-1.png``, …, in the same order."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{NAME}.csv").open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "predicted", "probability"])
        writer.writerows([e.image.path, e.label, e.predicted, f"{e.probability:.4f}"] for e in errors)
    for number, start in enumerate(range(0, len(errors), PER_SHEET), 1):
        shown = errors[start : start + PER_SHEET]
        titles = [f"{error.label}: {error.predicted}? {error.probability:.1%}" for error in shown]
        sheet = image_grid([error.image.path for error in shown], titles, columns=8)
        sheet.savefig(folder / f"{NAME}-{number}.png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Find images whose label is probably wrong, and write contact sheets for reviewing them."""
    parser = argparse.ArgumentParser(prog="python -m ml.evaluation.label_errors", description=main.__doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with one sub-folder of images per class")
    exclude.add_argument(parser)
    add("--out", type=Path, required=True, help="folder for the list and the contact sheets")
    add("--cache", type=Path, default=Path("runs/cache"), help="folder of decoded images [%(default)s]")
    add("--folds", type=int, choices=range(2, 11), default=2, metavar="N", help="2 to 10 [%(default)s]")
    add("--least", type=float, default=0.9, metavar="P", help="lowest probability of the other class [%(default)s]")
    options = parser.parse_args(arguments)
    try:
        data = scan(options.data, options.exclude)
        errors = find(data, options.folds, options.least, options.cache)
        write(options.out, errors)
    except (UserError, ImageError, OSError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    print(f"{len(errors)} probable label errors: see {options.out / NAME}.csv and the sheets beside it")
    return 0


if __name__ == "__main__":
    sys.exit(main())

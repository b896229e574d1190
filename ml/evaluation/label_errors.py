"""Find label errors, for a person to review: ``python -m ml.evaluation.label_errors``.

By cross-validation, each image is predicted by a head trained without it, on the features of a pre-trained backbone. A
confident prediction of another class is a probable label error.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bundle.preprocess import ImageError
from ml.data import exclude
from ml.data.dataset import Dataset, LabelledImage
from ml.data.scan import scan
from ml.errors import UserError
from ml.evaluation.plots import image_grid
from ml.model.backbones import build_backbone
from ml.training.config import TrainingConfig
from ml.training.device import choose_device
from ml.training.features import extract
from ml.training.head import cross_validate
from ml.training.loader import Pixels
from ml.training.temperature_scaling import fit_temperature

NAME = "label_errors"
PER_SHEET = 48


@dataclass(frozen=True)
class LabelError:
    """An image whose label is probably wrong, and the probability of the predicted class."""

    image: LabelledImage
    label: str
    predicted: str
    probability: float


def find(data: Dataset, min_probability: float, cache: Path) -> list[LabelError]:
    """Find label errors in the training and validation images.

    The test images are excluded: a test set without the images that networks find hard would flatter them.

    Returns:
        Images predicted as another class with at least ``min_probability``, the most confident first.
    """
    config = TrainingConfig()
    images = data.split("train", "validation")
    pixels = Pixels(images, config.size, config.resize, cache, "images")
    features = extract(build_backbone(config.architecture, pretrained=True), pixels, choose_device())
    result = cross_validate(features, pixels.labels, pixels.groups, seed=config.seed)
    probabilities = (result.logits / fit_temperature(result.logits, result.labels)).softmax(1).numpy()
    labels, predictions, confidences = pixels.labels.numpy(), probabilities.argmax(1), probabilities.max(1)
    errors = [
        LabelError(images[i], data.classes[labels[i]], data.classes[predictions[i]], float(confidences[i]))
        for i in np.flatnonzero((predictions != labels) & (confidences >= min_probability))
    ]
    return sorted(errors, key=lambda error: -error.probability)


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
    add("--least", type=float, default=0.9, metavar="P", help="lowest probability of the other class [%(default)s]")
    options = parser.parse_args(arguments)
    try:
        data = scan(options.data, options.exclude)
        errors = find(data, options.least, options.cache)
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

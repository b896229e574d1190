"""The settings that decide the result of a training run, and their command-line flags."""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from bundle.manifest import Precision
from bundle.preprocess import Resize
from ml.model.catalog import ARCHITECTURES

# Of the exported weights, unless said otherwise.
PRECISION: Precision = "fp16"

# All the networks halve their pictures several times; multiples of 16 lose little at the borders.
SIDE_STEP = 16
# Shares of all epochs: in which the side of the crops rises, and in which pictures are mixed.
RISING = 0.8
MIXING = 0.85


@dataclass(frozen=True)
class TrainingConfig:
    """What decides the result of a training run; a resumed run must have the same."""

    data_fingerprint: str = ""

    architecture: str = "mobilenet_v3_small"
    weights: str = "scratch"
    resize: Resize = "stretch"
    size: int = 128
    train_size: int = 128
    first_size: int = 0
    crop: float = 0.3
    rotation: float = 0.0
    degrade: float = 0.0
    grey: float = 0.0
    erase: float = 0.0
    mix: float = 0.0
    epochs: int = 30
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    ema: float = 0.998
    patience: int = 8
    seed: int = 0

    def side(self, epoch: int) -> int:
        """Side of an epoch's crops, pixels; epochs count from 0.

        It rises in equal steps from ``first_size`` to ``train_size`` ("Progressive resizing", Tan & Le 2021).
        """
        if not 0 < self.first_size < self.train_size:
            return self.train_size
        sides = [*range(self.first_size, self.train_size, SIDE_STEP), self.train_size]
        return sides[min(epoch * len(sides) // max(1, round(RISING * self.epochs)), len(sides) - 1)]

    def mixes(self, epoch: int) -> bool:
        """Whether an epoch, counted from 0, mixes pictures: the last learn from whole ones, as they will be served."""
        return self.mix > 0 and epoch < int(MIXING * self.epochs)


def _between(kind: type[int] | type[float], low: float, high: float = math.inf) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            numbers = "a whole number" if kind is int else "a number"
            limits = f"from {low} up" if high == math.inf else f"from {low} to {high}"
            raise argparse.ArgumentTypeError(f"{text!r} is not {numbers} {limits}")
        return value

    return parse


# Below 32 pixels the deeper networks have nothing left to look at.
side_in_pixels = _between(int, 32, 1024)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser one flag for each setting; a flag that is not used leaves the setting as it is."""
    group = parser.add_argument_group("recipe")

    def setting(name: str, text: str, **options: Any) -> None:
        group.add_argument(f"--{name.replace('_', '-')}", help=f"{text} [{getattr(TrainingConfig, name)}]", **options)

    setting("architecture", "network", choices=ARCHITECTURES, metavar="NAME")
    setting("weights", "scratch, imagenet, or a checkpoint file")
    setting("resize", "how a picture becomes a square", choices=("stretch", "center-crop"))
    setting("size", "side of the pictures that the network takes, pixels", type=side_in_pixels)
    add = group.add_argument
    add("--train-size", type=side_in_pixels, help="side of the training crops; smaller is faster [as --size]")
    setting("crop", "smallest share of a picture in a random crop; 1 for no cropping", type=_between(float, 0.01, 1))
    add("--first-size", type=side_in_pixels, help="side of the first epochs' crops, which then rises [as --train-size]")
    setting("rotation", "crops are turned by up to so many degrees", type=_between(float, 0, 180))
    share = _between(float, 0, 1)
    setting("degrade", "share of crops blurred, compressed, dimmed or shrunk", type=share)
    setting("grey", "share of crops without colour", type=share)
    setting("erase", "share of crops with a part erased", type=share)
    setting("mix", "share of batches with mixup or CutMix, but for the last epochs", type=share)
    setting("epochs", "most passes over the training pictures", type=_between(int, 1))
    # Batch normalisation needs more than one.
    setting("batch", "pictures in a step", type=_between(int, 2))
    setting("learning_rate", "highest of the schedule", type=_between(float, 1e-8, 100))
    setting("weight_decay", "of AdamW", type=_between(float, 0, 10))
    setting("label_smoothing", "share of a label given to the other classes", type=_between(float, 0, 0.9))
    setting("ema", "decay of the moving average of the weights", type=_between(float, 0, 0.99999))
    setting("patience", "epochs without a lower validation loss before the end", type=_between(int, 1))
    setting("seed", "of everything random", type=_between(int, 0, 2**31 - 1))


def from_options(
    options: argparse.Namespace, data_fingerprint: str, earlier: TrainingConfig | None = None
) -> TrainingConfig:
    """Make a recipe of the flags that were used, over an earlier run's recipe or the defaults."""
    used: dict[str, Any] = {f.name: getattr(options, f.name, None) for f in fields(TrainingConfig)}
    used = {name: value for name, value in used.items() if value is not None}
    used["data_fingerprint"] = data_fingerprint
    if earlier:
        return replace(earlier, **used)
    return TrainingConfig(**{"train_size": used.get("size", TrainingConfig.size), **used})

"""Define the settings that determine a training result, and their command-line flags."""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from bundle.manifest import Precision
from bundle.preprocess import Resize
from ml.errors import UserError
from ml.model.names import BACKBONE, PRETRAINED, SCRATCH

# Default precision of the exported weights.
PRECISION: Precision = "fp16"

# All networks halve the image several times; multiples of 16 lose little at the borders.
SIDE_STEP = 16
# Shares of the epochs in which the side of the crops grows, and in which images are mixed.
GROWING = 0.8
MIXING = 0.85


# Fine-tuning pays from about this many training images; with fewer, it fits them by heart.
FINE_TUNED_IMAGES = 1000
# Images that fine-tuning sees in all, and the fewest and most epochs for that.
FINE_TUNING_IMAGES = 40_000
FINE_TUNING_EPOCHS = (2, 8)


@dataclass(frozen=True)
class TrainingConfig:
    """The settings that determine a training result; a resumed run must have the same, but for ``checkpoint.LATER``.

    The defaults fine-tune a pre-trained backbone. ``FROM_SCRATCH`` has the settings that differ without one.
    """

    data_fingerprint: str = ""

    architecture: str = BACKBONE
    weights: str = PRETRAINED
    resize: Resize = "center-crop"
    size: int = 224
    train_size: int = 224
    first_size: int = 0
    crop: float = 0.4
    rotation: float = 15.0
    degrade: float = 0.2
    grey: float = 0.02
    erase: float = 0.0
    mix: float = 0.0
    views: int = 1
    epochs: int = 0
    batch: int = 32
    learning_rate: float = 3e-4
    layer_decay: float = 0.8
    frozen: int = 0
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    ema: float = 0.998
    blend: float = 0.4
    serve_crop: float = 1.0
    patience: int = 8
    seed: int = 0

    def side(self, epoch: int) -> int:
        """Return the side of an epoch's crops in pixels; epochs count from 0.

        It grows in equal steps from ``first_size`` to ``train_size`` (progressive learning, Tan & Le 2021,
        "EfficientNetV2").
        """
        if not 0 < self.first_size < self.train_size:
            return self.train_size
        sides = [*range(self.first_size, self.train_size, SIDE_STEP), self.train_size]
        return sides[min(epoch * len(sides) // max(1, round(GROWING * self.epochs)), len(sides) - 1)]

    def mixes(self, epoch: int) -> bool:
        """Tell whether an epoch, counted from 0, mixes images; the last ones train on whole images, as served."""
        return self.mix > 0 and epoch < int(MIXING * self.epochs)


# Random crops show objects larger than the whole image does. The centre of the image shows them as large again (Touvron
# et al. 2019, "Fixing the train-test resolution discrepancy"); this share is the usual one of ImageNet.
FINE_TUNED: dict[str, Any] = {"serve_crop": 0.875}

FROM_SCRATCH: dict[str, Any] = {
    "epochs": 30,
    "batch": 64,
    "learning_rate": 2e-3,
    "layer_decay": 1.0,
    "label_smoothing": 0.1,
    "blend": 1.0,
}


def fine_tuning_epochs(images: int) -> int:
    """Choose the epochs of fine-tuning for a number of training images; 0 trains the head alone."""
    if images < FINE_TUNED_IMAGES:
        return 0
    least, most = FINE_TUNING_EPOCHS
    return max(least, min(most, round(FINE_TUNING_IMAGES / images)))


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


# Below 32 pixels the last feature maps of the deeper networks are empty.
side_in_pixels = _between(int, 32, 1024)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one flag for each setting; an unused flag is None."""
    group = parser.add_argument_group("training settings")

    def add(name: str, text: str, default: object = None, **options: Any) -> None:
        default = getattr(TrainingConfig, name) if default is None else default
        group.add_argument(f"--{name.replace('_', '-')}", help=f"{text} [{default}]", **options)

    share = _between(float, 0, 1)
    add("architecture", "backbone: efficientnet_lite0, or a name of torchvision or timm (timm/NAME)", metavar="NAME")
    add("weights", "pretrained, scratch, or a checkpoint file", type=_weights)
    add("resize", "how an image becomes a square", choices=("stretch", "center-crop"))
    add("size", "side of the network's input, pixels", type=side_in_pixels)
    add("train_size", "side of the training crops; smaller is faster", "as --size", type=side_in_pixels)
    add("crop", "smallest share of an image in a random crop; 1 for no cropping", type=_between(float, 0.01, 1))
    add("first_size", "side of the first crops, which then grow", "as --train-size", type=side_in_pixels)
    add("rotation", "largest rotation of a crop, degrees", type=_between(float, 0, 180))
    add("degrade", "share of crops blurred, compressed, dimmed, shrunk or zoomed out of", type=share)
    add("grey", "share of crops without colour", type=share)
    add("erase", "share of crops with a part erased", type=share)
    add("mix", "share of batches with mixup or CutMix, except in the last epochs", type=share)
    add(
        "views", "augmented views of each image that the head learns from, beside the image", type=_between(int, 0, 100)
    )
    text = "maximum passes over the training images; 0 trains the head on the backbone's features alone"
    add("epochs", text, f"by the number of images, from scratch {FROM_SCRATCH['epochs']}", type=_between(int, 0))
    # Batch normalisation needs more than one image.
    add("batch", "images per step", type=_between(int, 2))
    add("learning_rate", "highest learning rate of the schedule", type=_between(float, 1e-8, 100))
    add("layer_decay", "factor of the learning rate from each stage to the one below", type=_between(float, 0.01, 1))
    add("frozen", "first stages that keep their weights, which is faster", type=_between(int, 0))
    add("weight_decay", "weight decay of AdamW", type=_between(float, 0, 10))
    add("label_smoothing", "share of a label given to the other classes", type=_between(float, 0, 0.9))
    add("ema", "decay of the moving average of the weights", type=_between(float, 0, 0.99999))
    text = "share of the fine-tuned weights in the backbone of the result; the rest is the backbone's as it was"
    add("blend", text, type=share)
    text = "share of an image's side that the served network sees: its centre, in which objects look larger"
    add("serve_crop", text, f"{FINE_TUNED['serve_crop']} with fine-tuning, else 1", type=_between(float, 0.1, 1))
    add("patience", "epochs without a lower validation loss before training stops", type=_between(int, 1))
    add("seed", "seed of all randomness", type=_between(int, 0, 2**31 - 1))


def _weights(text: str) -> str:
    """Accept the older name of the pre-trained weights."""
    return PRETRAINED if text == "imagenet" else text


def from_options(
    options: argparse.Namespace, data_fingerprint: str, images: int, earlier: TrainingConfig | None = None
) -> TrainingConfig:
    """Apply the used flags to an earlier run's config, or to the defaults for a number of training images.

    Raises:
        UserError: The flags contradict each other.
    """
    used: dict[str, Any] = {f.name: getattr(options, f.name, None) for f in fields(TrainingConfig)}
    used = {name: value for name, value in used.items() if value is not None}
    used["data_fingerprint"] = data_fingerprint
    scratch = used.get("weights", earlier.weights if earlier else PRETRAINED) == SCRATCH
    if scratch and used.get("epochs") == 0:
        raise UserError("--weights scratch needs --epochs of 1 or more: features of random weights are of no use.")
    if scratch and (used.get("frozen") or "blend" in used):
        raise UserError("--weights scratch does not go with --frozen or --blend: random weights are not worth keeping.")
    if earlier:
        return replace(earlier, **used)
    epochs = used.get("epochs", fine_tuning_epochs(images))
    defaults = FROM_SCRATCH if scratch else {"epochs": epochs, **(FINE_TUNED if epochs else {})}
    return TrainingConfig(**{"train_size": used.get("size", TrainingConfig.size), **defaults, **used})

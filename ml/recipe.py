"""The settings that decide the result of a training run, and their command-line flags."""

import argparse
from dataclasses import dataclass, fields, replace
from typing import Any

from ml.model import ARCHITECTURES
from services.inference.image import Resize


@dataclass(frozen=True)
class Recipe:
    """What decides the result of a training run; a resumed run must have the same."""

    data_fingerprint: str = ""

    architecture: str = "mobilenet_v3_small"
    weights: str = "scratch"
    resize: Resize = "stretch"
    size: int = 128
    train_size: int = 128
    crop: float = 0.3
    epochs: int = 30
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    ema: float = 0.998
    patience: int = 8
    seed: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser one flag for each setting; a flag that is not used leaves the setting as it is."""
    group = parser.add_argument_group("recipe")

    def setting(name: str, text: str, **more: Any) -> None:
        default = getattr(Recipe, name)
        options = more or {"type": type(default)}
        group.add_argument(f"--{name.replace('_', '-')}", help=f"{text} [{default}]", **options)

    setting("architecture", "network", choices=ARCHITECTURES, metavar="NAME")
    setting("weights", "scratch, imagenet, or a checkpoint file")
    setting("resize", "how a picture becomes a square", choices=("stretch", "center-crop"))
    setting("size", "side of the pictures that the network takes, pixels")
    group.add_argument("--train-size", type=int, help="side of the training crops; smaller is faster [as --size]")
    setting("crop", "smallest share of a picture in a random training crop; 1 for no cropping")
    setting("epochs", "most passes over the training pictures")
    setting("batch", "pictures in a step")
    setting("learning_rate", "highest of the schedule")
    setting("weight_decay", "of AdamW")
    setting("label_smoothing", "share of a label given to the other classes")
    setting("ema", "decay of the moving average of the weights")
    setting("patience", "epochs without a lower validation loss before the end")
    setting("seed", "of everything random")


def from_options(options: argparse.Namespace, data_fingerprint: str, earlier: Recipe | None = None) -> Recipe:
    """Make a recipe of the flags that were used, over an earlier run's recipe or the defaults."""
    used: dict[str, Any] = {f.name: getattr(options, f.name, None) for f in fields(Recipe)}
    used = {name: value for name, value in used.items() if value is not None}
    used["data_fingerprint"] = data_fingerprint
    if earlier:
        return replace(earlier, **used)
    return Recipe(**{"train_size": used.get("size", Recipe.size), **used})

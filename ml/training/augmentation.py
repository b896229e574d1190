"""Augmentation: what is done to a training picture, so that no two epochs see the same."""

import io
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F  # noqa: N812 - the name torchvision's own documentation uses

from ml.training.config import TrainingConfig

# Of random crops: Szegedy et al. 2015, "Going Deeper with Convolutions".
CROP_ASPECT = (3 / 4, 4 / 3)
JITTER = 0.3
# Of erased rectangles: Zhong et al. 2017, "Random Erasing Data Augmentation", but smaller, as crops are already small.
ERASED_AREA = (0.02, 0.25)
ERASED_ASPECT = (0.3, 3.3)
# Turned pictures have corners without content; mid-grey is about the mean that normalisation subtracts.
CORNER = [124.0, 116.0, 104.0]
MIXUP_ALPHA = 0.2

T = TypeVar("T")


def augment(picture: Tensor, side: int, recipe: TrainingConfig, generator: torch.Generator) -> Tensor:
    """Crop, flip, turn and degrade one picture.

    Args:
        picture: uint8 RGB, shape ``(3, height, width)``.
        side: Of the result, pixels.
        recipe: Which of it is done, and how often.
        generator: Decides all that is random.

    Returns:
        uint8, shape ``(3, side, side)``.
    """

    def happens(probability: float) -> bool:
        return probability > 0 and _uniform(0, 1, generator) < probability

    picture = _crop(picture, side, recipe.crop, generator)
    if happens(0.5):
        picture = F.horizontal_flip(picture)
    if recipe.rotation and happens(0.5):
        angle = _uniform(-recipe.rotation, recipe.rotation, generator)
        picture = F.rotate(picture, angle, InterpolationMode.BILINEAR, fill=CORNER)
    if happens(recipe.degrade):
        picture = _one_of(DEGRADATIONS, generator)(picture, generator)
    if happens(recipe.grey):
        picture = F.rgb_to_grayscale(picture, 3)
    if happens(recipe.erase):
        picture = _erase(picture, generator)
    return picture


def jitter(pictures: Tensor, luck: Tensor) -> Tensor:
    """Vary brightness, contrast and saturation of each picture by up to ``JITTER``.

    Args:
        pictures: Float RGB of 0 to 255, shape ``(n, side, side, 3)``.
        luck: From 0 to 1, shape ``(n, 3)``.
    """
    factors = (1 + JITTER * (2 * luck - 1)).to(pictures.device)
    brightness, contrast, saturation = factors.T[:, :, None, None, None]
    pictures = pictures * brightness
    pictures = torch.lerp(pictures.mean((1, 2, 3), keepdim=True), pictures, contrast)
    grey = pictures.mean(3, keepdim=True)
    return torch.lerp(grey.expand_as(pictures), pictures, saturation).clamp_(0, 255)


def mixing(classes: int) -> v2.Transform:
    """Blend or patch the pictures of a batch, and their labels in the same shares.

    Takes a batch and its labels ``(n,)``, gives the batch and probabilities ``(n, classes)``. Half of the batches get
    mixup (Zhang et al. 2018), half CutMix (Yun et al. 2019); torch's global generator decides.
    """
    return v2.RandomChoice([v2.MixUp(alpha=MIXUP_ALPHA, num_classes=classes), v2.CutMix(num_classes=classes)])


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def _log_uniform(limits: tuple[float, float], generator: torch.Generator) -> float:
    return math.exp(_uniform(math.log(limits[0]), math.log(limits[1]), generator))


def _one_of(choices: Sequence[T], generator: torch.Generator) -> T:
    return choices[int(torch.randint(len(choices), (), generator=generator))]


def _crop(picture: Tensor, size: int, smallest: float, generator: torch.Generator) -> Tensor:
    side = picture.shape[-1]
    area = side * side * _uniform(smallest, 1.0, generator)
    aspect = _log_uniform(CROP_ASPECT, generator)
    width = min(side, round(math.sqrt(area * aspect)))
    height = min(side, round(math.sqrt(area / aspect)))
    left = int(_uniform(0, side - width + 1, generator))
    top = int(_uniform(0, side - height + 1, generator))
    crop: Tensor = F.resized_crop(picture, top, left, height, width, [size, size], antialias=True)
    return crop


def _erase(picture: Tensor, generator: torch.Generator) -> Tensor:
    side = picture.shape[-1]
    area = side * side * _uniform(*ERASED_AREA, generator)
    aspect = _log_uniform(ERASED_ASPECT, generator)
    height, width = (min(side, max(1, round(math.sqrt(area * a)))) for a in (aspect, 1 / aspect))
    top, left = (int(_uniform(0, side - length + 1, generator)) for length in (height, width))
    noise = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
    erased: Tensor = F.erase(picture, top, left, height, width, noise)
    return erased


# What phones and messengers do to pictures.


def _blur(picture: Tensor, generator: torch.Generator) -> Tensor:
    sigma = _uniform(0.4, 1.6, generator)
    blurred: Tensor = F.gaussian_blur(picture, [7, 7], [sigma, sigma])
    return blurred


def _compress(picture: Tensor, generator: torch.Generator) -> Tensor:
    # With Pillow, as torchvision is about to part with its own encoder.
    file = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=int(_uniform(8, 50, generator)))
    compressed: Tensor = F.pil_to_tensor(Image.open(file))
    return compressed


def _dim(picture: Tensor, generator: torch.Generator) -> Tensor:
    dimmed: Tensor = F.adjust_brightness(picture, _uniform(0.2, 0.6, generator))
    return dimmed


def _shrink(picture: Tensor, generator: torch.Generator) -> Tensor:
    side = picture.shape[-1]
    small = F.resize(picture, [max(16, round(side * _uniform(0.3, 0.7, generator)))] * 2, antialias=True)
    back: Tensor = F.resize(small, [side, side], antialias=True)
    return back


DEGRADATIONS: tuple[Callable[[Tensor, torch.Generator], Tensor], ...] = (_blur, _compress, _dim, _shrink)

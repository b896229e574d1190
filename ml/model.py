"""The networks: torchvision's architectures by name, and a slim ResNet for small machines."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.resnet import BasicBlock, ResNet

from ml.errors import UserError
from ml.recipe import ARCHITECTURES, SLIM

# Mean and standard deviation of ImageNet's pixels, the convention of torchvision's pre-trained weights.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class ModelError(UserError):
    """The model cannot be built; the message is one sentence that says why."""


class SlimResNet(ResNet):
    """ResNet-18 at half the usual width, with a deeper stem.

    The stem of three small convolutions is the "ResNet-C" of He et al. 2019, "Bag of Tricks for Image
    Classification with Convolutional Neural Networks".
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=num_classes, zero_init_residual=True)
        self.inplanes = 32
        self.conv1 = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)),
            *(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)),
            nn.Conv2d(16, 32, 3, padding=1, bias=False),
        )
        self.bn1 = nn.BatchNorm2d(32)
        self.layer1 = self._make_layer(BasicBlock, 32, 2)
        self.layer2 = self._make_layer(BasicBlock, 64, 2, stride=2)
        self.layer3 = self._make_layer(BasicBlock, 128, 2, stride=2)
        self.layer4 = self._make_layer(BasicBlock, 256, 2, stride=2)
        self.fc = nn.Linear(256, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, BasicBlock):
                nn.init.zeros_(module.bn2.weight)


def normalise(pixels: Tensor) -> Tensor:
    """Turn uint8 or float RGB pixels of 0 to 255, shape ``(n, h, w, 3)``, into what the networks take.

    Returns:
        Float tensor of shape ``(n, 3, h, w)``, each channel with about zero mean and unit variance.
    """
    scale = torch.tensor([1 / (255 * s) for s in STD], device=pixels.device)
    shift = torch.tensor([-m / s for m, s in zip(MEAN, STD, strict=True)], device=pixels.device)
    return (pixels.to(torch.float32) * scale + shift).permute(0, 3, 1, 2)


def build(architecture: str, classes: int, weights: str = "scratch") -> nn.Module:
    """Build a network whose last layer gives one logit per class.

    Args:
        architecture: One of ``ARCHITECTURES``.
        classes: Number of classes.
        weights: ``scratch``, ``imagenet`` (torchvision downloads its default weights), or the path of a
            checkpoint that ``ml.train`` wrote; a last layer for other classes is left out.

    Raises:
        ModelError: The architecture is unknown, or the weights cannot be had or do not fit.
    """
    if architecture not in ARCHITECTURES:
        raise ModelError(f"Unknown architecture {architecture!r}: choose one of {', '.join(ARCHITECTURES)}.")
    if weights == "imagenet":
        return _pretrained(architecture, classes)
    network: nn.Module
    if architecture == SLIM:
        network = SlimResNet(num_classes=classes)
    else:
        network = models.get_model(architecture, weights=None, num_classes=classes)
    for module in network.modules():
        # torchvision's MobileNetV3 averages batch statistics over hundreds of batches (momentum 0.01), more
        # than a short training from scratch has.
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    if weights != "scratch":
        _load(network, Path(weights))
    return network


def describe_weights(weights: str) -> str:
    """Name initial weights for the manifest: ``scratch``, ``imagenet``, or the file's name and SHA-256."""
    if weights in ("scratch", "imagenet"):
        return weights
    path = Path(weights)
    with path.open("rb") as file:
        return f"{path.name} sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _pretrained(architecture: str, classes: int) -> nn.Module:
    if architecture == SLIM:
        raise ModelError(f"{SLIM} has no ImageNet weights: choose --weights scratch or a file.")
    try:
        network: nn.Module = models.get_model(architecture, weights="DEFAULT")
    except OSError as error:
        raise ModelError(
            f"The ImageNet weights of {architecture} could not be downloaded ({error}): "
            "check the network, or pass --weights scratch or a file."
        ) from error
    except Exception as error:  # a half-downloaded or damaged file fails in a dozen ways
        raise ModelError(
            f"The ImageNet weights of {architecture} are damaged ({_first_line(error)}): "
            f"remove their file from {torch.hub.get_dir()}/checkpoints."
        ) from error
    name, head = _head(network)
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, nn.Linear(head.in_features, classes))
    return network


def _head(network: nn.Module) -> tuple[str, nn.Linear]:
    """The last layer, with its name."""
    return [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]


def _load(network: nn.Module, path: Path) -> None:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}).") from error
    except Exception as error:  # a file that is no checkpoint fails in a dozen ways
        raise ModelError(f"{path}: is not a PyTorch checkpoint ({_first_line(error)}).") from error
    if isinstance(state, dict):
        state = state.get("best", state)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path}: holds no weights of a network.")
    own, head = network.state_dict(), f"{_head(network)[0]}."
    fitting = {
        name: tensor
        for name, tensor in state.items()
        if not (name.startswith(head) and name in own and tensor.shape != own[name].shape)
    }
    try:
        differing = network.load_state_dict(fitting, strict=False)
    except RuntimeError as error:  # a layer has another shape
        raise ModelError(f"{path}: these weights are of another architecture.") from error
    other = [n for n in (*differing.missing_keys, *differing.unexpected_keys) if not n.startswith(head)]
    if other:
        raise ModelError(f"{path}: these weights are of another architecture (see {other[0]}).")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

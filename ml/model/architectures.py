"""The networks: torchvision's architectures by name, and a slim ResNet for small machines."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.resnet import BasicBlock, ResNet

from ml.errors import UserError
from ml.model.catalog import ARCHITECTURES, LITE, SLIM

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
        self.conv1 = nn.Sequential(*_convolution(3, 16, stride=2), *_convolution(16, 16), _conv3x3(16, 32))
        _widen(self, (32, 64, 128, 256), (2, 2, 2, 2), num_classes)


class LiteResNet(ResNet):
    """A ResNet with the depth and the width where they cost least: in the later stages.

    Its stem halves the picture in both of its two convolutions instead of pooling: a third fewer values to normalise
    and to keep for the way back than ``SlimResNet``, of which training on a processor is mostly made.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(BasicBlock, [2, 2, 3, 2], num_classes=num_classes, zero_init_residual=True)
        self.conv1 = nn.Sequential(*_convolution(3, 16, stride=2), _conv3x3(16, 32, stride=2))
        self.maxpool = nn.Identity()
        _widen(self, (32, 64, 160, 288), (2, 2, 3, 2), num_classes)


OWN: dict[str, type[ResNet]] = {SLIM: SlimResNet, LITE: LiteResNet}


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return _conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)


def _widen(network: ResNet, widths: tuple[int, ...], blocks: tuple[int, ...], classes: int) -> None:
    """Replace all behind the stem by stages of the given widths, and initialise the network."""
    network.inplanes = widths[0]
    network.bn1 = nn.BatchNorm2d(widths[0])
    for i, (width, depth) in enumerate(zip(widths, blocks, strict=True), 1):
        setattr(network, f"layer{i}", network._make_layer(BasicBlock, width, depth, stride=1 if i == 1 else 2))
    network.fc = nn.Linear(widths[-1], classes)
    for module in network.modules():
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
    if architecture in OWN:
        network = OWN[architecture](num_classes=classes)
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
    if architecture in OWN:
        raise ModelError(f"{architecture} has no ImageNet weights: choose --weights scratch or a file.")
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
    name, last = last_layer(network)
    _replace(network, name, nn.Linear(last.in_features, classes))
    return network


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, module)


def last_layer(network: nn.Module) -> tuple[str, nn.Linear]:
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
    own, head = network.state_dict(), f"{last_layer(network)[0]}."
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

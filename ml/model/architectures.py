"""Build networks: torchvision's architectures by name, and two slim ResNets for small machines."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.resnet import BasicBlock, ResNet, conv1x1, conv3x3

from ml.errors import UserError
from ml.model.catalog import ARCHITECTURES, LITE, SLIM

# Mean and standard deviation of ImageNet's pixels, the convention of torchvision's pre-trained weights.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class ModelError(UserError):
    """Raised when a network cannot be built."""


def _slim(stem: nn.Module, pool: nn.Module, widths: tuple[int, ...], blocks: tuple[int, ...], classes: int) -> ResNet:
    """Build a ResNet with its own stem and widths, initialised as torchvision does."""
    network = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=classes)
    network.conv1, network.bn1, network.maxpool = stem, nn.BatchNorm2d(widths[0]), pool
    inputs = widths[0]
    for i, (width, depth) in enumerate(zip(widths, blocks, strict=True)):
        downsample = nn.Sequential(conv1x1(inputs, width, stride=2), nn.BatchNorm2d(width)) if i else None
        first = BasicBlock(inputs, width, stride=2 if i else 1, downsample=downsample)
        setattr(network, f"layer{i + 1}", nn.Sequential(first, *(BasicBlock(width, width) for _ in range(depth - 1))))
        inputs = width
    network.fc = nn.Linear(inputs, classes)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, BasicBlock):
            nn.init.zeros_(module.bn2.weight)
    return network


def _convolution(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)


def slim_resnet18(classes: int) -> ResNet:
    """Build ResNet-18 at half the usual width, with a deeper stem.

    The stem of three small convolutions is the "ResNet-C" of He et al. 2019, "Bag of Tricks for Image
    Classification with Convolutional Neural Networks".
    """
    stem = nn.Sequential(*_convolution(3, 16, stride=2), *_convolution(16, 16), conv3x3(16, 32))
    return _slim(stem, nn.MaxPool2d(3, 2, 1), (32, 64, 128, 256), (2, 2, 2, 2), classes)


def lite_resnet20(classes: int) -> ResNet:
    """Build a ResNet with its depth and width in the later stages, where they cost least.

    Both convolutions of its stem halve the image, instead of pooling. This leaves a third fewer activations to
    normalise and to keep for the backward pass than ``slim_resnet18``, which is most of the cost of training on a CPU.
    """
    stem = nn.Sequential(*_convolution(3, 16, stride=2), conv3x3(16, 32, stride=2))
    return _slim(stem, nn.Identity(), (32, 64, 160, 288), (2, 2, 3, 2), classes)


OWN = {SLIM: slim_resnet18, LITE: lite_resnet20}


def normalise(pixels: Tensor) -> Tensor:
    """Normalise RGB pixels ``(n, h, w, 3)``, uint8 or float from 0 to 255.

    Returns:
        Float tensor of shape ``(n, 3, h, w)``, each channel with about zero mean and unit variance.
    """
    scale = torch.tensor([1 / (255 * s) for s in STD], device=pixels.device)
    shift = torch.tensor([-m / s for m, s in zip(MEAN, STD, strict=True)], device=pixels.device)
    return (pixels.to(torch.float32) * scale + shift).permute(0, 3, 1, 2)


def build(architecture: str, classes: int, weights: str = "scratch") -> nn.Module:
    """Build one of ``ARCHITECTURES`` with one logit per class.

    Weights are ``scratch``, ``imagenet`` (torchvision downloads its default weights), or the path of a checkpoint of
    ``ml.train``, whose last layer is not loaded if it has another number of classes.

    Raises:
        ModelError: The architecture is unknown, or the weights cannot be loaded.
    """
    if architecture not in ARCHITECTURES:
        raise ModelError(f"Unknown architecture {architecture!r}: choose one of {', '.join(ARCHITECTURES)}.")
    if weights == "imagenet":
        return _pretrained(architecture, classes)
    network: nn.Module
    if architecture in OWN:
        network = OWN[architecture](classes)
    else:
        network = models.get_model(architecture, weights=None, num_classes=classes)
    for module in network.modules():
        # torchvision's MobileNetV3 averages batch statistics over hundreds of batches (momentum 0.01): too slow
        # for a short training from scratch.
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
    except Exception as error:  # PyTorch raises many types for a damaged file
        raise ModelError(
            f"The ImageNet weights of {architecture} are damaged ({_first_line(error)}): "
            f"remove the file from {torch.hub.get_dir()}/checkpoints."
        ) from error
    name, last = last_layer(network)
    network.set_submodule(name, nn.Linear(last.in_features, classes))
    return network


def last_layer(network: nn.Module) -> tuple[str, nn.Linear]:
    """Find the last linear layer and its name."""
    return [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]


def _load(network: nn.Module, path: Path) -> None:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).") from error
    except Exception as error:  # PyTorch raises many types for a file that is not a checkpoint
        # Not PyTorch's own message, which advises to load it unsafely.
        kind = "an ONNX file, not" if path.suffix.lower() == ".onnx" else "not"
        advice = "give the checkpoint.pt of a run, or a file of torch.save(network.state_dict(), …)"
        raise ModelError(f"{path} is {kind} a PyTorch checkpoint of weights: {advice}.") from error
    if isinstance(state, dict):
        state = state.get("best", state)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path} holds no network weights.")
    own, head = network.state_dict(), f"{last_layer(network)[0]}."
    matching = {
        name: tensor
        for name, tensor in state.items()
        if not (name.startswith(head) and name in own and tensor.shape != own[name].shape)
    }
    try:
        differing = network.load_state_dict(matching, strict=False)
    except RuntimeError as error:  # a shape differs
        raise ModelError(f"{path} has the weights of another architecture.") from error
    other = [n for n in (*differing.missing_keys, *differing.unexpected_keys) if not n.startswith(head)]
    if other:
        raise ModelError(f"{path} has the weights of another architecture (see {other[0]}).")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

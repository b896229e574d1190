"""The networks: torchvision's architectures by name, and a slim ResNet for small machines."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.resnet import BasicBlock, ResNet

# Mean and standard deviation of ImageNet's pixels, the convention of torchvision's pre-trained weights.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

SLIM = "resnet18_slim"
TORCHVISION = (
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "resnet18",
    "resnet34",
    "resnet50",
    "convnext_tiny",
)
ARCHITECTURES = (*TORCHVISION, SLIM)


class ModelError(Exception):
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
    return f"{Path(weights).name} sha256:{hashlib.sha256(Path(weights).read_bytes()).hexdigest()}"


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
    name, head = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear)][-1]
    parent = network.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], nn.Linear(head.in_features, classes))
    return network


def _load(network: nn.Module, path: Path) -> None:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is no checkpoint fails in a dozen ways
        raise ModelError(f"{path}: cannot be read as a PyTorch checkpoint ({error}).") from error
    state = state.get("best", state)
    own = network.state_dict()
    head = [n for n in own if n in state and state[n].shape != own[n].shape]
    last = [n for n, m in network.named_modules() if isinstance(m, nn.Linear)][-1]
    if any(not name.startswith(last) for name in head) or not own.keys() & state.keys():
        raise ModelError(f"{path}: these weights are of another architecture.")
    fitting = {n: t for n, t in state.items() if n not in head}
    missing = [n for n in network.load_state_dict(fitting, strict=False).missing_keys if n not in head]
    if missing:
        raise ModelError(f"{path}: these weights are of another architecture ({missing[0]} is missing).")

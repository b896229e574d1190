"""Build classifiers: a backbone and a linear head, with pre-trained weights, random ones, or a checkpoint's."""

import hashlib
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from ml.model.backbones import Backbone, ModelError, build_backbone
from ml.model.names import PRETRAINED, SCRATCH

ADVICE = "give the checkpoint.pt of a run, or a file of torch.save(network.state_dict(), …)"


class Classifier(nn.Module):
    """A backbone and a linear head on its features.

    Attributes:
        frozen_statistics: Keep the running statistics of batch normalisation. A few photos would estimate them badly,
            and those of the pre-training fit most photos.
    """

    def __init__(self, backbone: Backbone, classes: int, frozen_statistics: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.features, classes)
        self.frozen_statistics = frozen_statistics

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits ``(n, classes)`` of RGB images ``(n, 3, h, w)`` from 0 to 255."""
        logits: Tensor = self.head(self.backbone(images))
        return logits

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation; frozen statistics stay as they are."""
        super().train(mode)
        if self.frozen_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


def build(architecture: str, classes: int, weights: str = PRETRAINED) -> Classifier:
    """Build a classifier with one logit per class.

    Weights are ``pretrained``, ``scratch``, or the path of a checkpoint of ``ml.train``, whose head is not loaded if it
    has another number of classes.

    Raises:
        ModelError: The architecture is unknown, or the weights cannot be loaded.
    """
    backbone = build_backbone(architecture, pretrained=weights == PRETRAINED)
    classifier = Classifier(backbone, classes, frozen_statistics=weights != SCRATCH)
    if weights not in (PRETRAINED, SCRATCH):
        _load(classifier, Path(weights))
    return classifier


def stages(network: nn.Module) -> list[list[nn.Parameter]]:
    """Group the parameters of a classifier by stage, from the first to the head.

    A stage is a child of the backbone's network, or a child of its blocks.
    """
    found: dict[str, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        parts = name.split(".")
        numbered = next((i for i, part in enumerate(parts) if part.isdecimal()), 2)
        found.setdefault(".".join(parts[: min(numbered + 1, len(parts) - 1)]), []).append(parameter)
    return list(found.values())


def freeze(network: nn.Module, number: int) -> None:
    """Have a training keep the weights of the first stages.

    Raises:
        ModelError: The network has no more stages than that.
    """
    found = stages(network)
    if number >= len(found):
        raise ModelError(f"--frozen {number} leaves nothing to train: this network has {len(found)} stages.")
    for stage in found[:number]:
        for parameter in stage:
            parameter.requires_grad_(False)


def describe_weights(weights: str) -> str:
    """Name initial weights for the manifest: ``pretrained``, ``scratch``, or the file's name and SHA-256."""
    if weights in (PRETRAINED, SCRATCH):
        return weights
    path = Path(weights)
    with path.open("rb") as file:
        return f"{path.name} sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _load(classifier: Classifier, path: Path) -> None:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).") from error
    except Exception as error:  # PyTorch raises many types for a file that is not a checkpoint
        # Not PyTorch's own message, which advises to load it unsafely.
        kind = "an ONNX file, not" if path.suffix.lower() == ".onnx" else "not"
        raise ModelError(f"{path} is {kind} a PyTorch checkpoint of weights: {ADVICE}.") from error
    if isinstance(state, dict):
        state = state.get("best", state)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path} holds no network weights: {ADVICE}.")
    if (head := state.get("head.weight")) is not None and head.shape != classifier.head.weight.shape:
        state = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
        state |= {f"head.{name}": tensor for name, tensor in classifier.head.state_dict().items()}
    try:
        classifier.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(
            f"{path} has the weights of another architecture: give the --architecture of their training."
        ) from error

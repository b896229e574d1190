"""What the last stages of a network make of a picture, in a few hundred numbers."""

import copy

import torch
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from ml.model.architectures import last_layer

# With noise, flat colours and the like, earlier stages than the last differ more from what photos make them.
STAGES = 3
# Of each stage: a table of distances grows with the square of all.
MOST_CHANNELS = 320
TRIED_SIDE = 64


class Features(nn.Module):
    """A network that also tells what its last stages saw."""

    def __init__(self, network: nn.Module) -> None:
        """Wrap a copy of a network of torchvision's kind: its stages are its children, or those of ``features``."""
        super().__init__()
        self.stages = stages(network)
        self.logits = last_layer(network)[0]
        self.network = create_feature_extractor(copy.deepcopy(network).eval(), [*self.stages, self.logits])

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Give logits ``(n, classes)`` and features ``(n, features)`` of normalised pictures."""
        found = self.network(pictures)
        means = torch.cat([found[name].mean((2, 3))[:, :MOST_CHANNELS] for name in self.stages], 1)
        # Most are near zero, and some far above: the root makes of that something like a normal distribution.
        return found[self.logits], means.sign() * means.abs().sqrt()


@torch.inference_mode()
def stages(network: nn.Module) -> list[str]:
    """Name the parts of a network after which the map of features gets smaller, and its last: the last ``STAGES``."""
    prefix = "features." if hasattr(network, "features") else ""
    parts = network.get_submodule(prefix.rstrip(".")) if prefix else network
    sides: dict[int, str] = {}

    def note(name: str, output: Tensor) -> None:
        if output.ndim == 4 and output.shape[-1] > 1:
            sides[output.shape[-1]] = prefix + name

    hooks = [
        part.register_forward_hook(lambda _, __, output, name=name: note(name, output))
        for name, part in parts.named_children()
    ]
    training = network.training
    network.eval()(torch.zeros(1, 3, TRIED_SIDE, TRIED_SIDE))
    network.train(training)
    for hook in hooks:
        hook.remove()
    return [sides[side] for side in sorted(sides, reverse=True)][-STAGES:]

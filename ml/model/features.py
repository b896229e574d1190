"""Extract features for the out-of-distribution score from the last stages of a network."""

import copy

import torch
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from ml.model.architectures import last_layer

# Noise, flat colours and the like differ from photos more in earlier stages than in the last one.
STAGES = 3
# Per stage: the covariance of the Mahalanobis distance grows with the square of their number.
MAX_CHANNELS = 320
PROBE_SIDE = 64


class Features(nn.Module):
    """A network that also returns features of its last stages."""

    def __init__(self, network: nn.Module) -> None:
        """Wrap a copy of a torchvision network, whose stages are its children or the children of ``features``."""
        super().__init__()
        self.stages = stages(network)
        self.logits = last_layer(network)[0]
        self.network = create_feature_extractor(copy.deepcopy(network).eval(), [*self.stages, self.logits])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits ``(n, classes)`` and features ``(n, features)`` of normalised images."""
        outputs = self.network(images)
        means = torch.cat([outputs[name].mean((2, 3))[:, :MAX_CHANNELS] for name in self.stages], 1)
        # Most means are near zero and a few are far above: the root brings them closer to a normal distribution.
        return outputs[self.logits], means.sign() * means.abs().sqrt()


@torch.inference_mode()
def stages(network: nn.Module) -> list[str]:
    """Name the last ``STAGES`` modules after which the feature map gets smaller or ends."""
    prefix = "features." if hasattr(network, "features") else ""
    children = network.get_submodule(prefix.rstrip(".")) if prefix else network
    last_by_side: dict[int, str] = {}

    def record(name: str, output: Tensor) -> None:
        if output.ndim == 4 and output.shape[-1] > 1:
            last_by_side[output.shape[-1]] = prefix + name

    hooks = [
        child.register_forward_hook(lambda _, __, output, name=name: record(name, output))
        for name, child in children.named_children()
    ]
    training = network.training
    network.eval()(torch.zeros(1, 3, PROBE_SIDE, PROBE_SIDE))
    network.train(training)
    for hook in hooks:
        hook.remove()
    return [last_by_side[side] for side in sorted(last_by_side, reverse=True)][-STAGES:]

"""Score how unlike the training images an image is, by its features and its logits."""

import torch
from torch import Tensor, nn

from ml.model.residual import Residual


class VirtualLogit(nn.Module):
    """Weigh the residual of an image's features against its logits: an out-of-distribution score from 0 to 1.

    After Wang et al. 2022, "ViM: Out-Of-Distribution with Virtual-logit Matching". The residual tells what an image has
    that the training images lack, the logits what it lacks of its class. The means over held-out images bring both to
    one scale.
    """

    def __init__(self, residual: Residual, distances: Tensor, logits: Tensor) -> None:
        """Take the means from the residuals ``(n,)`` and logits ``(n, classes)`` of held-out images."""
        super().__init__()
        self.residual = residual
        self.mean_distance = distances.mean().clamp_min(1e-6).item()
        self.mean_logit = _centred(logits).amax(1).mean().clamp_min(1e-6).item()

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """Compute the scores ``(n,)`` of features ``(n, features)`` and their logits ``(n, classes)``."""
        return self.combine(self.residual(features), logits)

    def combine(self, distances: Tensor, logits: Tensor) -> Tensor:
        """Compute the scores ``(n,)`` of residuals ``(n,)`` and logits ``(n, classes)``."""
        energies = _centred(logits).logsumexp(1)
        return torch.sigmoid(distances / self.mean_distance - energies / self.mean_logit)


def _centred(logits: Tensor) -> Tensor:
    """Subtract each row's mean, on which no probability depends."""
    return logits - logits.mean(1, keepdim=True)

"""Score how far an image's features are from the training images'."""

import torch
from torch import Tensor, nn

# Directions that are kept. Features of the training images have little energy in the others.
MAX_DIRECTIONS = 256
# Energy that directions without training images are taken to have, as a multiple of the mean over all directions.
RIDGE = 0.1


class Residual(nn.Module):
    """Share of the features' energy outside the directions of the training images: an out-of-distribution score.

    After the residual of Wang et al. 2022, "ViM: Out-Of-Distribution with Virtual-logit Matching", with a soft limit in
    place of a number of directions: direction i, in which the training images have the mean energy e_i, counts by the
    share r / (e_i + r). This equals the Mahalanobis distance from the origin with a ridge r. It needs no labels.
    """

    directions: Tensor

    def __init__(self, features: Tensor) -> None:
        """Estimate the directions from the features ``(n, features)`` of training images as served."""
        super().__init__()
        unit = features.double() / features.shape[1] ** 0.5  # the mean square of an image's features is 1
        energies, directions = torch.linalg.eigh(unit.T @ unit / len(unit))
        energies, directions = energies[-MAX_DIRECTIONS:].clamp_min(0), directions[:, -MAX_DIRECTIONS:]
        weights = energies / (energies + RIDGE / features.shape[1])
        self.register_buffer("directions", (directions * weights.sqrt() / features.shape[1] ** 0.5).float())

    def forward(self, features: Tensor) -> Tensor:
        """Compute the scores ``(n,)``, from 0 to 1, of features ``(n, features)``."""
        return 1 - (features @ self.directions).square().sum(1)

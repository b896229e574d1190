"""How unlike a picture is to those that a network learned from, and from where on to say so."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bundle.manifest import Uncertainty

# Added to the covariance, as a share of its mean variance: a few thousand pictures do not fill all directions.
RIDGE = 1e-2
# Shares of known pictures that are flagged, for one reason and the other: together well below one in a hundred, so that
# it is no more than that on other pictures either. Most go to the distance, since it is what tells noise and
# landscapes, which the confidence hardly does.
DOUBTFUL = 0.0015
UNFAMILIAR = 0.003


class Distance(nn.Module):
    """Mahalanobis distance to the nearest class.

    After Lee et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution Samples". One covariance serves
    all classes; the distance is in standard deviations of a single direction.
    """

    whiten: Tensor
    centres: Tensor

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        """Measure what is familiar.

        Args:
            features: Of training pictures as they will be served, shape ``(n, features)``.
            labels: Their classes as indices, each present, shape ``(n,)``.
        """
        super().__init__()
        features = features.double()
        means = torch.stack([features[labels == label].mean(0) for label in labels.unique()])
        deviations = features - means[labels]
        covariance = deviations.T @ deviations / len(features)
        covariance += RIDGE * covariance.trace() / len(covariance) * torch.eye(len(covariance))
        # With precision = L Lᵀ the distance is the plain one after multiplying by L.
        factor = torch.linalg.cholesky(torch.linalg.inv(covariance)) / len(covariance) ** 0.5
        self.register_buffer("whiten", factor.float())
        self.register_buffer("centres", (means @ factor).float())

    def forward(self, features: Tensor) -> Tensor:
        """Give the distances, shape ``(n,)``, of features, shape ``(n, features)``."""
        whitened = features @ self.whiten
        squares = (whitened[:, None] - self.centres).square().sum(2)
        return squares.amin(1).sqrt()


def choose_limits(probabilities: NDArray[np.float32], distances: NDArray[np.float32]) -> Uncertainty:
    """Choose the limits beyond which an answer is flagged.

    Args:
        probabilities: Answers of the exported graph for validation pictures, shape ``(n, classes)``.
        distances: Their distances, shape ``(n,)``.
    """
    confidences = probabilities.max(1)
    # An observed value each, so that no more than the share lies beyond it.
    least = float(np.quantile(confidences, DOUBTFUL, method="lower"))
    greatest = float(np.quantile(distances, 1 - UNFAMILIAR, method="higher"))
    flagged = (confidences < least) | (distances > greatest)
    return Uncertainty(least_confidence=least, greatest_distance=greatest, flagged=float(flagged.mean()))

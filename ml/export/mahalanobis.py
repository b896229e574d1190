"""Score how far an image is out of distribution, and choose the limits for flagging it."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bundle.load import Bundle
from bundle.manifest import Uncertainty
from bundle.predictor import Predictor
from ml.training.loader import EVALUATION_BATCH, Pixels

# Added to the covariance, as a share of its mean variance: a few thousand images do not span all directions.
RIDGE = 1e-2
# Shares of validation images to flag for low confidence and for a large distance: together well below 1 %, so that
# other images of the classes stay below it too. The distance gets more, since it detects noise and landscapes better.
LOW_CONFIDENCE = 0.0015
LARGE_DISTANCE = 0.003


class MahalanobisDistance(nn.Module):
    """Mahalanobis distance to the nearest class, as an out-of-distribution score.

    After Lee et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution Samples". All classes share one
    covariance; the unit is the standard deviation of a single direction.
    """

    whiten: Tensor
    centres: Tensor

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        """Estimate class means and covariance of the features ``(n, features)`` of training images as served.

        Every class index must be present in ``labels``.
        """
        super().__init__()
        features = features.double()
        means = torch.stack([features[labels == label].mean(0) for label in labels.unique()])
        deviations = features - means[labels]
        covariance = deviations.T @ deviations / len(features)
        covariance += RIDGE * covariance.trace() / len(covariance) * torch.eye(len(covariance))
        # With the inverse covariance = L Lᵀ, the distance is Euclidean after multiplying by L.
        factor = torch.linalg.cholesky(torch.linalg.inv(covariance)) / len(covariance) ** 0.5
        self.register_buffer("whiten", factor.float())
        self.register_buffer("centres", (means @ factor).float())

    def forward(self, features: Tensor) -> Tensor:
        """Compute the distances ``(n,)`` of features ``(n, features)``."""
        whitened = features @ self.whiten
        squares = (whitened[:, None] - self.centres).square().sum(2)
        return squares.amin(1).sqrt()


def with_limits(bundle: Bundle, validation: Pixels) -> Bundle:
    """Add limits for uncertain answers, chosen on the validation images as served."""
    predictor = Predictor(bundle)
    starts = range(0, len(validation), EVALUATION_BATCH)
    outputs = [predictor.measure(np.array(validation.pixels[i : i + EVALUATION_BATCH])) for i in starts]
    probabilities, distances = (np.concatenate(part) for part in zip(*outputs, strict=True))
    limits = choose_limits(probabilities, distances)
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"uncertainty": limits}))


def choose_limits(probabilities: NDArray[np.float32], distances: NDArray[np.float32]) -> Uncertainty:
    """Choose the limits for uncertain answers from a graph's probabilities ``(n, classes)`` and distances ``(n,)``."""
    confidences = probabilities.max(1)
    # Observed values, so that no more than the share lies beyond them.
    least = float(np.quantile(confidences, LOW_CONFIDENCE, method="lower"))
    greatest = float(np.quantile(distances, 1 - LARGE_DISTANCE, method="higher"))
    flagged = (confidences < least) | (distances > greatest)
    return Uncertainty(least_confidence=least, greatest_distance=greatest, flagged=float(flagged.mean()))

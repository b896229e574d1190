"""Choose the limits beyond which an answer is flagged as uncertain."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bundle.load import Bundle
from bundle.manifest import Uncertainty
from bundle.predictor import Predictor
from ml.model.residual import Residual
from ml.training.head import fold_indices
from ml.training.loader import EVALUATION_BATCH, Pixels

# Shares of held-out images to flag for low confidence and for a high out-of-distribution score: together below 1 %. The
# score gets more, since it finds images of none of the classes better.
LOW_CONFIDENCE = 0.001
HIGH_SCORE = 0.008


def measure_limits(bundle: Bundle, held_out: Pixels) -> Uncertainty:
    """Choose the limits by a bundle's own answers for held-out images."""
    predictor = Predictor(bundle)
    starts = range(0, len(held_out), EVALUATION_BATCH)
    outputs = [predictor.measure(held_out.batch(i, i + EVALUATION_BATCH)) for i in starts]
    probabilities, scores = (np.concatenate(part) for part in zip(*outputs, strict=True))
    return choose_limits(probabilities, scores)


def cross_validated_distances(features: Tensor, labels: Tensor, groups: list[str], seed: int) -> Tensor:
    """Compute each image's residual by the other folds' images; the arguments are as in ``head.cross_validate``."""
    distances = torch.zeros(len(labels))
    for rest, held_out in fold_indices(labels, groups, seed):
        distances[held_out] = Residual(features[rest])(features[held_out])
    return distances


def choose_limits(probabilities: NDArray[np.float32], scores: NDArray[np.float32]) -> Uncertainty:
    """Choose the limits from the probabilities ``(n, classes)`` and scores ``(n,)`` of held-out images."""
    confidences = probabilities.max(1)
    # Observed values, so that no more than the share lies beyond them.
    least = float(np.quantile(confidences, LOW_CONFIDENCE, method="lower"))
    greatest = float(np.quantile(scores, 1 - HIGH_SCORE, method="higher"))
    flagged = (confidences < least) | (scores > greatest)
    return Uncertainty(least_confidence=least, greatest_distance=greatest, flagged=float(flagged.mean()))

"""Build the model that is served: uint8 pixels in, probabilities and out-of-distribution scores out."""

import torch
from torch import Tensor, nn

from ml.export.fused_stem import split_stem
from ml.export.mahalanobis import MahalanobisDistance
from ml.model.features import Features
from ml.training.loader import Pixels, plain_batches
from ml.training.temperature_scaling import fit_temperature


class ServingModel(nn.Module):
    """A network with its pre- and post-processing: uint8 pixels in, probabilities out."""

    def __init__(
        self,
        network: nn.Module,
        size: int,
        temperature: float = 1.0,
        distance: MahalanobisDistance | None = None,
        mirrored: bool = False,
    ) -> None:
        """Wrap a copy of a network.

        Args:
            network: Takes normalised ``(n, 3, size, size)``, returns logits ``(n, classes)``.
            size: Side of the images, pixels.
            temperature: Divisor of the logits before the softmax (Guo et al. 2017).
            distance: Computes the out-of-distribution score; None omits it.
            mirrored: Average over each image and its mirror image, at twice the cost.
        """
        super().__init__()
        self.stem, self.network = split_stem(network if distance is None else Features(network), size, mirrored)
        self.size = size
        self.temperature = temperature
        self.distance = distance
        self.mirrored = mirrored

    def forward(self, pixels: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Compute probabilities ``(n, classes)`` of uint8 RGB images ``(n, size, size, 3)``, and their distances."""
        values = self.stem(pixels)
        if self.distance is None:
            return self._probabilities(self.network(values))
        logits, features = self.network(values)
        return self._probabilities(logits), self._mean(self.distance(features))

    def _probabilities(self, logits: Tensor) -> Tensor:
        return (self._mean(logits) / self.temperature).softmax(1)

    def _mean(self, values: Tensor) -> Tensor:
        """Average over an image and its mirror image."""
        return values.unflatten(0, (-1, 2)).mean(1) if self.mirrored else values


def calibrated(network: nn.Module, size: int, training: Pixels, validation: Pixels, mirrored: bool) -> ServingModel:
    """Build a serving model of a network on the CPU, calibrated on images as served.

    The training images are for the out-of-distribution score, the validation images for the temperature.
    """
    features = Features(network.eval())
    logits, _ = _outputs(features, validation)
    if mirrored:
        logits = (logits + _outputs(features, validation, mirrored=True)[0]) / 2
    temperature = fit_temperature(logits, validation.labels)
    distance = MahalanobisDistance(_outputs(features, training)[1], training.labels)
    return ServingModel(network, size, temperature, distance, mirrored)


@torch.inference_mode()
def _outputs(features: Features, images: Pixels, mirrored: bool = False) -> tuple[Tensor, Tensor]:
    """Compute logits and features of all images, or of their mirror images."""
    batches = plain_batches(images, torch.device("cpu"))
    outputs = (features(batch.flip(3) if mirrored else batch) for batch, _ in batches)
    logits, values = zip(*outputs, strict=True)
    return torch.cat(logits), torch.cat(values)

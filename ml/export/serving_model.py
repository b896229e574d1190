"""Build the model that is served: uint8 pixels in, probabilities and out-of-distribution scores out."""

from torch import Tensor, nn

from ml.model.classifier import Classifier
from ml.model.pixel_features import PixelFeatures
from ml.model.virtual_logit import VirtualLogit


class Answer(nn.Module):
    """The part of a serving model after the backbone: features in, probabilities and scores out."""

    def __init__(self, head: nn.Linear, temperature: float, score: VirtualLogit) -> None:
        """Wrap a head; ``temperature`` divides its logits before the softmax (Guo et al. 2017)."""
        super().__init__()
        self.head, self.temperature, self.score = head, temperature, score

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Compute probabilities ``(n, classes)`` and scores ``(n,)`` of features ``(n, features)``."""
        logits = self.head(features)
        return (logits / self.temperature).softmax(1), self.score(features, logits)


class ServingModel(nn.Module):
    """A classifier with its pre- and post-processing, on the CPU."""

    def __init__(self, classifier: Classifier, size: int, seen: int, temperature: float, score: VirtualLogit) -> None:
        """Wrap a classifier of images with ``size`` pixels a side, of which it sees the central square of ``seen``.

        ``score`` finds images unlike the training's.
        """
        super().__init__()
        self.backbone, self.size, self.seen = classifier.backbone, size, seen
        self.features = PixelFeatures(classifier.backbone, seen)
        self.answer = Answer(classifier.head, temperature, score)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute probabilities ``(n, classes)`` and scores ``(n,)`` of uint8 RGB images ``(n, size, size, 3)``."""
        answer: tuple[Tensor, Tensor] = self.answer(self.features(pixels))
        return answer

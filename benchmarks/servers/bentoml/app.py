"""BentoML with the decoder and the model of the service, one process per CPU as its guide recommends."""

from pathlib import Path

import bentoml

from benchmarks.servers.classifier import Classifier


@bentoml.service(workers="cpu_count")
class Service:
    """Without batching: a request would wait for others, and batches do not save time."""

    def __init__(self) -> None:
        self._classifier = Classifier()

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, file: Path) -> dict[str, float]:
        """Classify the image of a form."""
        return self._classifier.probabilities(file.read_bytes())

    @bentoml.api  # type: ignore[untyped-decorator]
    def raw(self, image: bytes, /) -> dict[str, float]:
        """Classify the image in the body."""
        return self._classifier.probabilities(image)

"""BentoML with the service's decoding and model: a process for each processor, as its guide to workers says."""

from pathlib import Path

import bentoml

from benchmarks.classifier import Classifier


@bentoml.service(workers="cpu_count")
class Service:
    """Without batching: every request would wait for others to come, to save a tenth of its cost at best."""

    def __init__(self) -> None:
        self._classifier = Classifier()

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, file: Path) -> dict[str, float]:
        """A picture in a form."""
        return self._classifier.probabilities(file.read_bytes())

    @bentoml.api  # type: ignore[untyped-decorator]
    def raw(self, picture: bytes, /) -> dict[str, float]:
        """A picture as the body."""
        return self._classifier.probabilities(picture)

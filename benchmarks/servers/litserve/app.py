"""LitServe with the service's decoding and model; it takes pictures in forms only."""

import sys

import litserve

from benchmarks.classifier import Classifier


class Api(litserve.LitAPI):
    """Decoding and running in the inference processes, one for each processor; its HTTP processes are as many."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self._classifier = Classifier()

    # Without an annotation LitServe hands the form over as it is.
    def decode_request(self, request) -> bytes:  # type: ignore[no-untyped-def]  # noqa: ANN001
        """Take the file out of the form."""
        return bytes(request["file"].file.read())

    def predict(self, picture: bytes) -> dict[str, float]:
        """Classify it."""
        return self._classifier.probabilities(picture)

    def encode_response(self, output: dict[str, float]) -> dict[str, float]:
        """Answer it as JSON."""
        return output


if __name__ == "__main__":
    port, workers = map(int, sys.argv[1:])
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=port, generate_client_file=False)

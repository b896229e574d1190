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


class BatchApi(Api):
    """The same for those that wait, in one run of the model."""

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """Leave the pictures as they are: LitServe would make an array of them."""
        return inputs

    def predict(self, pictures: list[bytes]) -> list[dict[str, float]]:  # type: ignore[override]
        """Classify them."""
        return self._classifier.batch(pictures)

    def unbatch(self, output: list[dict[str, float]]) -> list[dict[str, float]]:
        """Leave the answers as they are, too."""
        return output


if __name__ == "__main__":
    port, workers, pictures = map(int, sys.argv[1:])
    # Who waits is taken along; nobody waits for others to come.
    api = Api() if pictures == 1 else BatchApi(max_batch_size=pictures, batch_timeout=0.0)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=port, generate_client_file=False)

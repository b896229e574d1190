"""LitServe with the decoder and the model of the service; it accepts forms only."""

import sys

import litserve

from benchmarks.servers.classifier import Classifier


class Api(litserve.LitAPI):
    """Decode and run in the inference processes, one per CPU; there are as many HTTP processes."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self._classifier = Classifier()

    # Without an annotation LitServe passes the form unchanged.
    def decode_request(self, request) -> bytes:  # type: ignore[no-untyped-def]  # noqa: ANN001
        """Read the file of the form."""
        return bytes(request["file"].file.read())

    def predict(self, image: bytes) -> dict[str, float]:
        """Classify the image."""
        return self._classifier.probabilities(image)

    def encode_response(self, output: dict[str, float]) -> dict[str, float]:
        """Return the answer, which LitServe sends as JSON."""
        return output


class BatchApi(Api):
    """Queued requests share one run of the model."""

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """Keep the list of images: LitServe would make an array of them."""
        return inputs

    def predict(self, images: list[bytes]) -> list[dict[str, float]]:  # type: ignore[override]
        """Classify the images."""
        return self._classifier.batch(images)

    def unbatch(self, output: list[dict[str, float]]) -> list[dict[str, float]]:
        """Keep the list of answers."""
        return output


if __name__ == "__main__":
    port, workers, batch = map(int, sys.argv[1:])
    # A timeout of 0: queued requests are batched, but none is delayed to fill a batch.
    api = Api() if batch == 1 else BatchApi(max_batch_size=batch, batch_timeout=0.0)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=port, generate_client_file=False)

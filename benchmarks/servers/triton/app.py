"""Triton, in the form that pip installs, with the decoder and the model of the service.

Its own backend for ONNX models comes only in NVIDIA's container image.
"""

import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.servers.classifier import Classifier

Infer = Callable[..., dict[str, NDArray[np.float32]]]


def build() -> Infer:
    """Load the model for one of the inference threads."""
    classifier = Classifier()

    @batch  # type: ignore[untyped-decorator]
    def infer(image: NDArray[np.bytes_]) -> dict[str, NDArray[np.float32]]:
        answers = classifier.batch(image[:, 0].tolist())
        return {"probabilities": np.array([list(answer.values()) for answer in answers], np.float32)}

    return infer


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the blocks below end
    port, workers, most = map(int, sys.argv[1:])
    settings = TritonConfig(http_address="127.0.0.1", http_port=port, allow_grpc=False, allow_metrics=False)
    with tempfile.TemporaryDirectory() as folder, Triton(config=settings, workspace=Path(folder) / "triton") as triton:
        triton.bind(
            "classifier",
            [build() for _ in range(workers)],
            inputs=[Tensor(name="image", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="probabilities", dtype=np.float32, shape=(-1,))],
            config=ModelConfig(max_batch_size=most),  # queued requests are batched, but none is delayed
        )
        triton.serve()

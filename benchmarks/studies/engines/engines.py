"""The compared engines: functions that load a bundle on one thread and return how to compute probabilities.

Each imports its own packages, because no environment has all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def onnx_runtime(folder: Path) -> Predict:
    """Load the model as the service does."""
    from bundle.load import load
    from bundle.predictor import Predictor

    predictor = Predictor(load(folder))
    return lambda pixels: predictor.answer_with_scores(pixels)[0]


def openvino(folder: Path) -> Predict:
    """Load the same model file, in float32 as the other engines: the default on some processors is bfloat16."""
    import openvino

    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.compile_model(folder / "model.onnx", "CPU", settings)
    return lambda pixels: np.asarray(model(pixels)["probabilities"])


def eager_pytorch(folder: Path) -> Predict:
    """Build the network that the manifest names, with random weights: speed does not depend on them."""
    import torch

    from bundle.load import load
    from ml.model.classifier import build
    from ml.model.names import SCRATCH

    torch.set_num_threads(1)
    manifest = load(folder).manifest
    network = build(manifest.training.architecture, len(manifest.classes), SCRATCH).eval()

    @torch.inference_mode()
    def predict(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(network(torch.from_numpy(pixels).permute(0, 3, 1, 2).float()).softmax(1))

    return predict


@dataclass(frozen=True)
class Engine:
    """An engine and where it is installed."""

    name: str
    package: str
    """Its package in the registry, for the version."""
    load: Callable[[Path], Predict]
    is_ours: bool = True
    """Installed in the repository's own environment."""
    has_weights: bool = True
    """Has the bundle's weights, so that its probabilities can be compared."""


ONNX_RUNTIME = Engine("ONNX Runtime, as in the service", "onnxruntime", onnx_runtime)
OPENVINO = Engine("OpenVINO", "openvino", openvino, is_ours=False)
EAGER_PYTORCH = Engine("eager PyTorch", "torch", eager_pytorch, has_weights=False)
ENGINES = (ONNX_RUNTIME, OPENVINO, EAGER_PYTORCH)

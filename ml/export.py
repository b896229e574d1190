"""From a trained network to a bundle: one ONNX graph from uint8 pixels to probabilities, checked."""

import hashlib
import io
import json
import warnings
from datetime import UTC, datetime

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim

from ml.errors import UserError
from ml.model import normalise
from services.inference.bundle import Bundle, Dataset, Input, Manifest, Parity, Training
from services.inference.image import Resize
from services.inference.predictor import CLASSES_KEY, INPUT_NAME, OUTPUT_NAME, Predictor

LARGEST_DIFFERENCE = 1e-3
OPSET = 20


class ExportError(UserError):
    """The bundle must not be used; the message is one sentence that says why."""


class Served(nn.Module):
    """A network with its pre- and post-processing: uint8 pixels in, probabilities out."""

    def __init__(self, network: nn.Module, temperature: float = 1.0) -> None:
        """Wrap a network.

        Args:
            network: Takes normalised ``(n, 3, size, size)``, gives logits ``(n, classes)``.
            temperature: What logits are divided by before the softmax (Guo et al. 2017).
        """
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, pixels: Tensor) -> Tensor:
        """Classify uint8 RGB pictures ``(n, size, size, 3)``; gives probabilities ``(n, classes)``."""
        logits: Tensor = self.network(normalise(pixels))
        return (logits / self.temperature).softmax(1)


def export(
    network: nn.Module,
    temperature: float,
    classes: list[str],
    size: int,
    resize: Resize,
    name: str,
    training: Training,
    dataset: Dataset,
    pixels: NDArray[np.uint8],
) -> Bundle:
    """Make a bundle, not yet evaluated, out of a trained network.

    Args:
        network: On the CPU; see ``Served``.
        temperature: See ``Served``.
        classes: Names in output order.
        size: Side of the pictures, pixels.
        resize: How a picture becomes a square.
        name: Of the model.
        training: For the manifest.
        dataset: For the manifest.
        pixels: Real pictures to check the graph with, shape ``(n, size, size, 3)``.

    Raises:
        ExportError: The graph answers differently from the network.
    """
    served = Served(network, temperature)
    model = to_onnx(served, classes, size)
    sha256 = hashlib.sha256(model).hexdigest()
    now = datetime.now(UTC)
    manifest = Manifest(
        schema_version=1,
        name=name,
        version=f"{now:%Y%m%d}-{sha256[:8]}",
        created=now.isoformat(timespec="seconds"),
        classes=classes,
        input=Input(size=size, resize=resize),
        model_sha256=sha256,
        training=training,
        dataset=dataset,
        parity=None,
        metrics=None,
        reference=None,
    )
    parity = check_parity(Bundle(manifest, model), served, pixels)
    return Bundle(manifest.model_copy(update={"parity": parity}), model)


def to_onnx(served: Served, classes: list[str], size: int) -> bytes:
    """Export to an ONNX graph that takes any number of pictures.

    Args:
        served: On the CPU, in evaluation mode.
        classes: Names in output order; written into the graph's metadata.
        size: Side of the pictures, pixels.
    """
    example = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    with warnings.catch_warnings():
        # The exporter warns of its own deprecated internals.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            served.eval(),
            (example,),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=({0: Dim("pictures", min=1)},),
            opset_version=OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, {CLASSES_KEY: json.dumps(classes)})
    for node in [*model.graph.node, *model.graph.value_info]:
        # The exporter's notes on where each node came from hold paths of the training machine.
        del node.metadata_props[:]
    onnx.checker.check_model(model)
    file = io.BytesIO()
    onnx.save(model, file)
    return file.getvalue()


@torch.inference_mode()
def check_parity(bundle: Bundle, served: Served, pixels: NDArray[np.uint8]) -> Parity:
    """Compare the graph with PyTorch on real pictures.

    Args:
        bundle: The exported bundle.
        served: What it was exported from, on the CPU.
        pixels: Decoded pictures, shape ``(n, size, size, 3)``.

    Raises:
        ExportError: A probability differs by more than ``LARGEST_DIFFERENCE``.
    """
    ours = served.eval()(torch.from_numpy(np.array(pixels))).numpy()
    difference = float(np.abs(ours - Predictor(bundle).predict(np.asarray(pixels))).max())
    if not difference <= LARGEST_DIFFERENCE:
        raise ExportError(
            f"The exported graph differs from PyTorch by {difference:.2g} in a probability, "
            f"more than {LARGEST_DIFFERENCE:g}: it is not written."
        )
    return Parity(pictures=len(pixels), max_probability_difference=difference)

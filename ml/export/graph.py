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

from bundle.load import Bundle
from bundle.manifest import Dataset, Input, Manifest, Parity, Precision, Training
from bundle.predictor import CLASSES_KEY, DISTANCE_NAME, INPUT_NAME, OUTPUT_NAME, Predictor
from bundle.preprocess import Resize
from ml.errors import UserError
from ml.export.fused_stem import with_stem
from ml.export.mahalanobis import Distance
from ml.export.quantize import to_fp16, to_int8
from ml.model.features import Features

# Of a probability. What int8 costs is a question of accuracy, which the evaluation answers; this finds broken graphs.
LARGEST_DIFFERENCE: dict[Precision, float] = {"fp32": 1e-3, "fp16": 2e-2, "int8": 0.5}
OPSET = 20


class ExportError(UserError):
    """The bundle must not be used; the message is one sentence that says why."""


class ServingModel(nn.Module):
    """A network with its pre- and post-processing: uint8 pixels in, probabilities out."""

    def __init__(
        self,
        network: nn.Module,
        size: int,
        temperature: float = 1.0,
        distance: Distance | None = None,
        mirrored: bool = False,
    ) -> None:
        """Wrap a copy of a network.

        Args:
            network: Takes normalised ``(n, 3, size, size)``, gives logits ``(n, classes)``.
            size: Side of the pictures, pixels.
            temperature: What logits are divided by before the softmax (Guo et al. 2017).
            distance: Measures how unlike a picture is to those learned from; None to leave that out.
            mirrored: Ask about each picture and its mirror image, and answer the mean of both; twice the work.
        """
        super().__init__()
        self.stem, self.network = with_stem(network if distance is None else Features(network), size, mirrored)
        self.size = size
        self.temperature = temperature
        self.distance = distance
        self.mirrored = mirrored

    def forward(self, pixels: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Classify uint8 RGB pictures ``(n, size, size, 3)``.

        Returns:
            Probabilities ``(n, classes)``; with a ``distance``, also the distances ``(n,)``.
        """
        values = self.stem(pixels)
        if self.distance is None:
            return self._probabilities(self.network(values))
        logits, features = self.network(values)
        return self._probabilities(logits), self._mean(self.distance(features))

    def _probabilities(self, logits: Tensor) -> Tensor:
        return (self._mean(logits) / self.temperature).softmax(1)

    def _mean(self, values: Tensor) -> Tensor:
        """Of the two that belong to one picture."""
        return values.unflatten(0, (-1, 2)).mean(1) if self.mirrored else values


def export(
    served: ServingModel,
    classes: list[str],
    resize: Resize,
    name: str,
    training: Training,
    dataset: Dataset,
    pixels: NDArray[np.uint8],
    precision: Precision = "fp32",
) -> Bundle:
    """Make a bundle, not yet evaluated, out of a trained network.

    Args:
        served: On the CPU.
        classes: Names in output order.
        resize: How a picture becomes a square.
        name: Of the model.
        training: For the manifest.
        dataset: For the manifest.
        pixels: Real pictures to check the graph with, and to calibrate int8 with, shape ``(n, size, size, 3)``.
        precision: Of the weights; int8 computes with 8 bits as well.

    Raises:
        ExportError: The graph answers differently from the network.
    """
    model = serialise(in_precision(to_onnx(served), precision, pixels), classes)
    sha256 = hashlib.sha256(model).hexdigest()
    now = datetime.now(UTC)
    manifest = Manifest(
        schema_version=1,
        name=name,
        version=f"{now:%Y%m%d}-{sha256[:8]}",
        created=now.isoformat(timespec="seconds"),
        classes=classes,
        input=Input(size=served.size, resize=resize),
        model_sha256=sha256,
        training=training,
        dataset=dataset,
        parity=None,
        metrics=None,
        reference=None,
        precision=precision,
        mirrored=served.mirrored,
    )
    parity = check_parity(Bundle(manifest, model), served, pixels)
    return Bundle(manifest.model_copy(update={"parity": parity}), model)


def to_onnx(served: ServingModel) -> onnx.ModelProto:
    """Export to an ONNX graph that takes any number of pictures.

    Args:
        served: On the CPU, in evaluation mode.
    """
    example = torch.zeros((2, served.size, served.size, 3), dtype=torch.uint8)
    with warnings.catch_warnings():
        # The exporter warns of its own deprecated internals.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            served.eval(),
            (example,),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME] if served.distance is None else [OUTPUT_NAME, DISTANCE_NAME],
            dynamic_shapes=({0: Dim("pictures", min=1)},),
            opset_version=OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    for node in [*model.graph.node, *model.graph.value_info]:
        # The exporter's notes on where each node came from hold paths of the training machine.
        del node.metadata_props[:]
    return model


def in_precision(model: onnx.ModelProto, precision: Precision, pixels: NDArray[np.uint8]) -> onnx.ModelProto:
    """Give the graph in another precision; see ``export``."""
    if precision == "int8":
        return to_int8(model, INPUT_NAME, pixels)
    if precision == "fp16":
        to_fp16(model)
    return model


def serialise(model: onnx.ModelProto, classes: list[str]) -> bytes:
    """Check a graph and give the bytes of its file, with the names of the classes in its metadata."""
    onnx.helper.set_model_props(model, {CLASSES_KEY: json.dumps(classes)})
    onnx.checker.check_model(model)
    file = io.BytesIO()
    onnx.save(model, file)
    return file.getvalue()


@torch.inference_mode()
def check_parity(bundle: Bundle, served: ServingModel, pixels: NDArray[np.uint8]) -> Parity:
    """Compare the graph with PyTorch on real pictures.

    Args:
        bundle: The exported bundle.
        served: What it was exported from, on the CPU.
        pixels: Decoded pictures, shape ``(n, size, size, 3)``.

    Raises:
        ExportError: A probability differs by more than ``LARGEST_DIFFERENCE`` of the bundle's precision.
    """
    answer = served.eval()(torch.from_numpy(np.array(pixels)))
    ours = (answer if isinstance(answer, Tensor) else answer[0]).numpy()
    difference = float(np.abs(ours - Predictor(bundle).predict(np.asarray(pixels))).max())
    largest = LARGEST_DIFFERENCE[bundle.manifest.precision]
    if not difference <= largest:
        raise ExportError(
            f"The exported graph differs from PyTorch by {difference:.2g} in a probability, "
            f"more than {largest:g}: it is not written."
        )
    return Parity(pictures=len(pixels), max_probability_difference=difference)

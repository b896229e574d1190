"""Export a trained network as a bundle: one ONNX graph from uint8 pixels to probabilities, compared with PyTorch."""

import hashlib
import io
import json
import warnings
from datetime import UTC, datetime

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.export import Dim

from bundle.load import Bundle
from bundle.manifest import Dataset, Input, Manifest, Parity, Precision, Training
from bundle.predictor import CLASSES_KEY, DISTANCE_NAME, INPUT_NAME, OUTPUT_NAME, Predictor
from bundle.preprocess import Resize
from ml.errors import UserError
from ml.export.quantize import to_fp16, to_int8
from ml.export.serving_model import ServingModel

# Of a probability. This detects broken graphs; the evaluation measures the accuracy that int8 costs.
MAX_DIFFERENCE: dict[Precision, float] = {"fp32": 1e-3, "fp16": 2e-2, "int8": 0.5}
OPSET = 20


class ExportError(UserError):
    """Raised when an exported graph must not be used."""


def export(
    model: ServingModel,
    classes: list[str],
    resize: Resize,
    training: Training,
    dataset: Dataset,
    pixels: NDArray[np.uint8],
    precision: Precision = "fp32",
) -> Bundle:
    """Export a bundle that is yet to be evaluated, named after its data set.

    Args:
        model: The model, on the CPU.
        classes: Class names in output order.
        resize: How an image becomes a square.
        training: Section of the manifest.
        dataset: Section of the manifest.
        pixels: Real images ``(n, size, size, 3)`` to compare with PyTorch on and to calibrate int8 with.
        precision: Precision of the weights; int8 also computes with 8 bits.

    Raises:
        ExportError: The graph's outputs differ from the network's.
    """
    graph = to_onnx(model)
    if precision == "int8":
        graph = to_int8(graph, INPUT_NAME, pixels)
    elif precision == "fp16":
        to_fp16(graph)
    content = serialise(graph, classes)
    sha256 = hashlib.sha256(content).hexdigest()
    now = datetime.now(UTC)
    manifest = Manifest(
        schema_version=1,
        name=dataset.name,
        version=f"{now:%Y%m%d}-{sha256[:8]}",
        created=now.isoformat(timespec="seconds"),
        classes=classes,
        input=Input(size=model.size, resize=resize),
        model_sha256=sha256,
        training=training,
        dataset=dataset,
        parity=None,
        metrics=None,
        reference=None,
        precision=precision,
        mirrored=model.mirrored,
    )
    parity = check_parity(Bundle(manifest, content), model, pixels)
    return Bundle(manifest.model_copy(update={"parity": parity}), content)


def to_onnx(model: ServingModel) -> onnx.ModelProto:
    """Export a model on the CPU to an ONNX graph with a dynamic batch size."""
    example = torch.zeros((2, model.size, model.size, 3), dtype=torch.uint8)
    with warnings.catch_warnings():
        # The exporter warns of its own deprecated internals.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model.eval(),
            (example,),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME] if model.distance is None else [OUTPUT_NAME, DISTANCE_NAME],
            dynamic_shapes=({0: Dim("images", min=1)},),
            opset_version=OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    for node in [*proto.graph.node, *proto.graph.value_info]:
        # The exporter's notes hold source paths of the training machine.
        del node.metadata_props[:]
    return proto


def serialise(graph: onnx.ModelProto, classes: list[str]) -> bytes:
    """Check a graph and serialise it, with the class names in its metadata."""
    onnx.helper.set_model_props(graph, {CLASSES_KEY: json.dumps(classes)})
    onnx.checker.check_model(graph)
    file = io.BytesIO()
    onnx.save(graph, file)
    return file.getvalue()


@torch.inference_mode()
def check_parity(bundle: Bundle, model: ServingModel, pixels: NDArray[np.uint8]) -> Parity:
    """Compare a bundle with its model on decoded images ``(n, size, size, 3)``.

    Raises:
        ExportError: A probability differs by more than ``MAX_DIFFERENCE`` of the bundle's precision.
    """
    outputs = model.eval()(torch.from_numpy(np.array(pixels)))
    expected = (outputs if isinstance(outputs, Tensor) else outputs[0]).numpy()
    difference = float(np.abs(expected - Predictor(bundle).predict(np.asarray(pixels))).max())
    limit = MAX_DIFFERENCE[bundle.manifest.precision]
    if not difference <= limit:
        raise ExportError(
            f"The exported graph differs from PyTorch by {difference:.2g} in a probability, "
            f"more than {limit:g}: it is not written."
        )
    return Parity(pictures=len(pixels), max_probability_difference=difference)

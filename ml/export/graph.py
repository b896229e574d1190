"""Export a trained network as a bundle: one ONNX graph from uint8 pixels to probabilities, compared with PyTorch."""

import hashlib
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from bundle.load import Bundle
from bundle.manifest import Dataset, Input, Manifest, Parity, Precision, Training
from bundle.predictor import CLASSES_KEY, DISTANCE_NAME, INPUT_NAME, OUTPUT_NAME, Predictor
from bundle.preprocess import Resize
from ml.errors import UserError
from ml.export.quantize import to_fp16, to_int8
from ml.export.serving_model import ServingModel
from ml.model.onnx_graph import to_onnx
from ml.model.pixel_features import FEATURES, pixel_features_graph

# Of a probability. This detects broken graphs; the evaluation measures the accuracy that int8 costs.
MAX_DIFFERENCE: dict[Precision, float] = {"fp32": 1e-3, "fp16": 2e-2, "int8": 0.5}


class ExportError(UserError):
    """Raised when an exported graph must not be used."""


def export(
    model: ServingModel,
    classes: list[str],
    resize: Resize,
    training: Training,
    dataset: Dataset,
    pixels: NDArray[np.uint8],
    precision: Precision,
    cache: Path,
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
        cache: Folder of exported backbones.

    Raises:
        ExportError: The graph's outputs differ from the network's.
    """
    graph = to_graph(model, cache)
    if precision == "int8":
        graph = to_int8(graph, INPUT_NAME, FEATURES, pixels)
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
    )
    parity = check_parity(Bundle(manifest, content), model, pixels)
    return Bundle(manifest.model_copy(update={"parity": parity}), content)


def to_graph(model: ServingModel, cache: Path) -> onnx.ModelProto:
    """Export a model on the CPU to an ONNX graph with a dynamic batch size; the backbone's part may be in the cache."""
    backbone = pixel_features_graph(model.backbone, model.size, model.seen, cache)
    example = torch.zeros(2, model.backbone.features)
    answer = to_onnx(model.answer, example, [FEATURES], [OUTPUT_NAME, DISTANCE_NAME])
    # The two graphs name their values alike.
    graph = onnx.compose.merge_models(
        onnx.compose.add_prefix(backbone, "backbone/", rename_inputs=False, rename_outputs=False),
        answer,
        io_map=[(FEATURES, FEATURES)],
    )
    del graph.opset_import[1:]  # both graphs have the same, and ONNX Runtime's quantiser accepts one
    return graph


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
    expected, _ = model.eval()(torch.from_numpy(np.array(pixels)))
    difference = float(np.abs(expected.numpy() - Predictor(bundle).predict(np.asarray(pixels))).max())
    limit = MAX_DIFFERENCE[bundle.manifest.precision]
    if not difference <= limit:
        raise ExportError(
            f"The exported graph differs from PyTorch by {difference:.2g} in a probability, "
            f"more than {limit:g}, so it is not written: try --precision fp32, or an empty folder as --cache."
        )
    return Parity(pictures=len(pixels), max_probability_difference=difference)

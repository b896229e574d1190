"""Quantise an ONNX graph: store weights in 16 bits, or compute with 8 bits."""

import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from ml.model.onnx_graph import session

FloatArray = NDArray[np.float32]

# Scales and biases are few, and some are so small that 16 bits lose digits that count.
MIN_VALUES = 1024
CALIBRATION_BATCH = 16
# Convolutions and the operations between them. Without Clip and Relu, values between them would be 32-bit, and half of
# the 8-bit range would be spent on values that they remove.
OPERATIONS = ["Conv", "Clip", "Relu", "Add"]
# The first convolutions stay in 32 bits: they are few and sensitive. With them in 8 bits the error of
# EfficientNet-Lite0's features is three times as large, and a run is no shorter.
PLAIN_CONVOLUTIONS = 6
# Kernels of this many values get a zero point. ONNX Runtime computes them as matrix products, where the zero point is
# worth its cost on CPUs with matrix units (Intel AMX). It computes smaller kernels by sliding them over the image.
MIN_MATRIX_VALUES = 512


def to_fp16(model: onnx.ModelProto) -> None:
    """Store large weights in 16 bits, in place.

    ONNX Runtime casts them back to 32 bits once, when it loads the graph. The file is half as large and the computation
    is the same, except for the rounding of the weights.
    """
    graph = model.graph
    casts = []
    for weights in graph.initializer:
        if weights.data_type != TensorProto.FLOAT or np.prod(weights.dims) < MIN_VALUES:
            continue
        name = weights.name
        half = numpy_helper.from_array(numpy_helper.to_array(weights).astype(np.float16), f"{name}_fp16")
        weights.CopyFrom(half)
        casts.append(helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def to_int8(model: onnx.ModelProto, input_name: str, features_name: str, pixels: NDArray[np.uint8]) -> onnx.ModelProto:
    """Quantise ``OPERATIONS`` to 8 bits, except the first convolutions and what lies before them.

    There is one scale per weight channel and one per layer's activations. Weights use 7 of their 8 bits. CPUs without
    VNNI (Intel before 2019, AMD before 2022) add two products in 16 bits, which overflows with larger weights. ONNX
    Runtime's workaround takes a third longer. The activation ranges are calibrated on real images
    ``(n, size, size, 3)``. Rounding also moves the features by their mean over these images, which is taken back: the
    head would answer one class more often than it should.
    """
    with tempfile.TemporaryDirectory() as folder:
        original, prepared, quantised = (Path(folder, f"{name}.onnx") for name in ("original", "prepared", "quantised"))
        onnx.save(model, original)
        # It prints its progress, which would tear other progress bars apart.
        with contextlib.redirect_stdout(io.StringIO()):
            quant_pre_process(original, prepared, skip_symbolic_shape=True)
            graph = onnx.load(prepared)
            quantize_static(
                prepared,
                quantised,
                _Batches(input_name, pixels),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=OPERATIONS,
                nodes_to_exclude=_first_nodes(graph),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                reduce_range=True,
                calibrate_method=CalibrationMethod.Percentile,
                extra_options={"TensorQuantOverrides": _overrides(graph)},
            )
        rounded = onnx.load(quantised)
    drift = _mean(rounded, input_name, features_name, pixels) - _mean(model, input_name, features_name, pixels)
    _subtract(rounded, features_name, drift)
    return rounded


def _mean(model: onnx.ModelProto, input_name: str, features_name: str, pixels: NDArray[np.uint8]) -> FloatArray:
    """Compute the mean features over images."""
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    extended.graph.output.append(helper.make_tensor_value_info(features_name, TensorProto.FLOAT, None))
    run = session(extended.SerializeToString()).run
    batches = np.array_split(pixels, -(-len(pixels) // CALIBRATION_BATCH))
    parts = [run([features_name], {input_name: batch})[0] for batch in batches]
    return np.asarray(np.concatenate(parts).mean(0), np.float32)


def _subtract(model: onnx.ModelProto, features_name: str, drift: FloatArray) -> None:
    """Correct the bias of the features, after Nagel et al. 2019.

    "Data-Free Quantization Through Weight Equalization and Bias Correction".
    """
    graph, before = model.graph, f"{features_name}_before_correction"
    maker = next(i for i, node in enumerate(graph.node) if features_name in node.output)
    graph.node[maker].output[:] = [before if name == features_name else name for name in graph.node[maker].output]
    constant = numpy_helper.from_array(drift, f"{features_name}_drift")
    graph.initializer.append(constant)
    graph.node.insert(maker + 1, helper.make_node("Sub", [before, constant.name], [features_name]))


def _first_nodes(model: onnx.ModelProto) -> list[str]:
    """List the nodes of a graph up to the last of the convolutions that stay in 32 bits."""
    nodes = model.graph.node
    convolutions = [i for i, node in enumerate(nodes) if node.op_type == "Conv"][:PLAIN_CONVOLUTIONS]
    return [node.name for node in nodes[: convolutions[-1] + 1]] if convolutions else []


def _overrides(model: onnx.ModelProto) -> dict[str, list[dict[str, object]]]:
    """List the tensors of a graph that are quantised differently from the rest."""
    found: dict[str, list[dict[str, object]]] = {}
    for weights in model.graph.initializer:
        if len(weights.dims) == 4 and np.prod(weights.dims[1:]) >= MIN_MATRIX_VALUES:
            found[weights.name] = [{"axis": 0, "quant_type": QuantType.QInt8, "symmetric": False}]
    return found


class _Batches(CalibrationDataReader):
    """Feed images to ONNX Runtime's calibration: one batch per call, then None."""

    def __init__(self, input_name: str, pixels: NDArray[np.uint8]) -> None:
        def batches() -> Iterator[dict[str, NDArray[np.uint8]]]:
            # ONNX Runtime stacks the results, so all batches have one size; the remainder is dropped.
            size = min(CALIBRATION_BATCH, len(pixels))
            for start in range(0, len(pixels) - size + 1, size):
                yield {input_name: pixels[start : start + size]}

        self._batches = batches()

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Return the next batch."""
        return next(self._batches, None)

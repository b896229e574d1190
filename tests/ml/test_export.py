"""The graph answers as PyTorch does, and a bundle is on disk whole or refused."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from ml import export
from ml.export import ExportError, Served, check_parity
from ml.model import SLIM, build
from services.inference import bundle as bundles
from services.inference.bundle import Bundle, BundleError
from services.inference.predictor import Predictor
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
    return export.export(network, 1.7, CLASSES, SIZE, "center-crop", "colours", TRAINING, DATASET, photos)


@pytest.mark.parametrize("pictures", [1, 2, 7, 20])
def test_any_number_of_pictures_gets_the_networks_answers(pictures, bundle, network, photos):
    with torch.inference_mode():
        mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
        inputs = ((torch.from_numpy(photos[:pictures]) / 255 - mean) / std).permute(0, 3, 1, 2)
        expected = (network(inputs) / 1.7).softmax(1).numpy()
    answers = Predictor(bundle).predict(photos[:pictures])
    np.testing.assert_allclose(answers, expected, atol=1e-4)
    np.testing.assert_allclose(answers.sum(1), 1, atol=1e-5)


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
    served = Served(network, 1.7)
    assert check_parity(bundle, served, photos).max_probability_difference <= 1e-3
    with pytest.raises(ExportError, match=r"differs from PyTorch by 0\.\d+ in a probability, more than 0\.001"):
        check_parity(bundle, Served(network, 1.0), photos)


def test_a_network_that_answers_no_number_is_refused(network, photos):
    broken = build(SLIM, len(CLASSES))
    broken.load_state_dict(network.state_dict())
    nn.init.constant_(broken.fc.bias, float("nan"))
    with pytest.raises(ExportError, match="differs from PyTorch by nan"):
        export.export(broken.eval(), 1.0, CLASSES, SIZE, "stretch", "d", TRAINING, DATASET, photos)

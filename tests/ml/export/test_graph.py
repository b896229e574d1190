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
from bundle.files import BundleError
from bundle.load import Bundle
from bundle.predictor import Predictor
from ml.export.graph import ExportError, check_parity, to_graph
from ml.export.serving_model import ServingModel
from ml.model import pixel_features
from tests.ml.export.conftest import CLASSES, SIZE, TEMPERATURE
from tests.servers import ROOT


@pytest.fixture
def bundle(exported) -> Bundle:
    return exported("fp32")


@pytest.mark.parametrize("number", [1, 2, 7, 20])
def test_graph_equals_the_model_for_any_batch_size(number, bundle, model, photos):
    with torch.inference_mode():
        expected, expected_scores = model(torch.from_numpy(photos[:number]))
    answers, scores = Predictor(bundle).measure(photos[:number])
    np.testing.assert_allclose(answers, expected, atol=1e-4)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-4)
    np.testing.assert_allclose(answers.sum(1), 1, atol=1e-5)


def test_answers_differ_between_images(bundle, photos):
    answers, scores = Predictor(bundle).measure(photos)
    assert answers.std(0).max() > 0.01 and scores.std() > 1e-4, "the other tests compare constants"


def test_manifest_describes_the_graph(bundle):
    manifest = bundle.manifest
    assert manifest.classes == CLASSES and manifest.name == "colours"
    assert (manifest.input.size, manifest.input.resize) == (SIZE, "center-crop")
    assert manifest.version == f"{manifest.created[:10].replace('-', '')}-{manifest.model_sha256[:8]}"
    assert manifest.parity.pictures == 20 and 0 <= manifest.parity.max_probability_difference <= 1e-3
    assert manifest.metrics is None and manifest.reference is None and manifest.uncertainty is None
    model = onnx.load_from_string(bundle.model)
    assert [opset.domain for opset in model.opset_import] == [""]
    assert {p.key: p.value for p in model.metadata_props} == {"classes": json.dumps(CLASSES)}


def test_graph_has_no_paths_of_the_machine(bundle):
    model = onnx.load_from_string(bundle.model)
    for weights in model.graph.initializer:
        weights.ClearField("raw_data")  # random bytes may spell anything
    text = str(model)
    for secret in (str(ROOT), str(Path(torch.__file__).parent), "site-packages", ".py"):
        assert secret not in text, f"{secret} is in the graph"


def test_backbone_is_not_exported_again_for_another_head(bundle, model, cache, monkeypatch):
    exports = []
    monkeypatch.setattr(pixel_features, "to_onnx", lambda *_: exports.append(1))
    other = copy.deepcopy(model)
    nn.init.zeros_(other.answer.head.weight)
    graph = to_graph(other, cache)
    assert not exports and [output.name for output in graph.graph.output] == ["probabilities", "distance"]


def test_predictor_refuses_a_manifest_of_other_classes(bundle):
    other = bundle.manifest.model_copy(update={"classes": ["a", "b", "c"]})
    with pytest.raises(BundleError, match="exported for the classes"):
        Predictor(Bundle(other, bundle.model))


def test_graph_of_another_model_is_refused(bundle, model, network, photos):
    assert check_parity(bundle, model, photos).max_probability_difference <= 1e-3
    with pytest.raises(ExportError, match=r"PyTorch by 0\.\d+ in a probability, .* try --precision fp32"):
        check_parity(bundle, ServingModel(network, SIZE, SIZE, 2 * TEMPERATURE, model.answer.score), photos)
    broken = copy.deepcopy(network)
    nn.init.constant_(broken.head.bias, float("nan"))
    with pytest.raises(ExportError, match="differs from PyTorch by nan"):
        check_parity(bundle, ServingModel(broken, SIZE, SIZE, 1.0, model.answer.score), photos)


def test_images_beyond_the_limit_are_uncertain(bundle, photos):
    scores = Predictor(bundle).measure(photos)[1]
    limits = sections.Uncertainty(least_confidence=0, greatest_distance=float(np.median(scores)), flagged=0)
    limited = replace(bundle, manifest=bundle.manifest.model_copy(update={"uncertainty": limits}))
    assert Predictor(limited).answer(photos)[1].tolist() == (scores > np.median(scores)).tolist()

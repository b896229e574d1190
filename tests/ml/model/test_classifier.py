"""Classifiers: a head on a backbone, and their initial weights."""

import pytest
import torch
from torch import nn

from ml.model.classifier import ModelError, build, describe_weights, freeze, stages
from tests import bundles
from tests.ml.conftest import TINY


@torch.inference_mode()
def test_classifier_is_a_linear_head_on_the_features():
    classifier = build(TINY, 3, "scratch").eval()
    images = torch.rand(2, 3, 64, 64) * 255
    logits = classifier(images)
    assert logits.shape == (2, 3)
    torch.testing.assert_close(logits, classifier.head(classifier.backbone(images)))


def statistics(classifier: nn.Module) -> torch.Tensor:
    return torch.cat([value for name, value in classifier.state_dict().items() if name.endswith("running_mean")])


@pytest.mark.parametrize("weights", ["scratch", "checkpoint"])
def test_statistics_of_trained_weights_stay_and_others_move(weights, tmp_path):
    if weights == "checkpoint":
        weights = str(tmp_path / "weights.pt")
        torch.save(build(TINY, 2, "scratch").state_dict(), weights)
    classifier = build(TINY, 2, weights).train()
    before = statistics(classifier)
    classifier(torch.rand(4, 3, 64, 64) * 255)
    assert torch.equal(statistics(classifier), before) is (weights != "scratch")
    assert classifier.training and classifier.head.training
    classifier.eval().train()
    normalisations = [module for module in classifier.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {module.training for module in normalisations} == {weights == "scratch"}


def test_checkpoint_weights_are_loaded_except_a_head_of_other_classes(tmp_path):
    trained = build(TINY, 2, "scratch").state_dict()
    torch.save({"best": trained, "epoch": 3}, tmp_path / "checkpoint.pt")
    same, other = (build(TINY, classes, str(tmp_path / "checkpoint.pt")).state_dict() for classes in (2, 5))
    assert all(torch.equal(trained[name], same[name]) for name in trained)
    assert all(torch.equal(trained[name], other[name]) for name in trained if not name.startswith("head."))
    assert other["head.weight"].shape == (5, 96)


@pytest.mark.parametrize("other", ["test_efficientnet", "test_vit", "resnet18"])
def test_weights_of_another_architecture_are_refused(other, tmp_path):
    torch.save(build(other, 2, "scratch").state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=r"another architecture: give the --architecture of their training"):
        build(TINY, 2, str(tmp_path / "weights.pt"))


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {"best": {"a": 1}}, {"note": "hello"}])
def test_file_without_weights_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=r"weights\.pt holds no network weights: give the checkpoint\.pt of a run"):
        build(TINY, 2, str(tmp_path / "weights.pt"))


def test_damaged_or_missing_weights_are_refused_in_one_line(tmp_path):
    (tmp_path / "garbage.pt").write_bytes(b"\x80garbage" * 100)
    with pytest.raises(ModelError, match=r"garbage\.pt is not a PyTorch checkpoint") as caught:
        build(TINY, 2, str(tmp_path / "garbage.pt"))
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=r"none\.pt cannot be read \(No such file or directory\)"):
        build(TINY, 2, str(tmp_path / "none.pt"))


@pytest.mark.parametrize("name", ["model.onnx", "network.pt"])
def test_other_kind_of_file_is_named_without_advice_to_trust_it(name, tmp_path):
    if name == "model.onnx":
        bundles.write(tmp_path)
    else:
        torch.save(nn.Linear(2, 2), tmp_path / name)
    with pytest.raises(ModelError) as caught:
        build(TINY, 2, str(tmp_path / name))
    message = str(caught.value)
    assert ("is an ONNX file" in message) is (name == "model.onnx") and "not a PyTorch checkpoint" in message
    assert "trust" not in message and "arbitrary code" not in message


def test_weights_are_described_by_content(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"abc")
    assert (describe_weights("pretrained"), describe_weights("scratch")) == ("pretrained", "scratch")
    assert describe_weights(str(tmp_path / "w.pt")) == (
        "w.pt sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_freezing_all_stages_is_refused():
    classifier = build(TINY, 2, "scratch")
    number = len(stages(classifier))
    with pytest.raises(ModelError, match=f"--frozen {number} leaves nothing to train: .* {number} stages"):
        freeze(classifier, number)

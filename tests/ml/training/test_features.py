"""Features are computed once, and beside the decoded images."""

import numpy as np
import pytest
import torch

from ml.model.backbones import build_backbone
from ml.training import features
from ml.training.features import BATCH, extract
from ml.training.loader import Pixels
from tests.ml.conftest import TINY

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return build_backbone(TINY, pretrained=False)


@pytest.fixture
def images(colours, cache, tmp_path) -> Pixels:
    """A few images, in a cache of their own, with the graphs of the shared one."""
    for graph in cache.glob("*-32-32.onnx"):
        (tmp_path / graph.name).symlink_to(graph)
    return Pixels(colours.split("test")[: BATCH + 3], 32, "stretch", tmp_path, "images")


@pytest.mark.parametrize("way", ["cpu", "device"])
@torch.inference_mode()
def test_features_are_the_backbones_in_order(way, backbone, images):
    found = (
        extract(backbone, images, CPU)
        if way == "cpu"
        else torch.from_numpy(np.concatenate(list(features._on_device(backbone, images, CPU))))
    )
    expected = backbone.eval()(torch.from_numpy(np.array(images.pixels)).permute(0, 3, 1, 2).float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("way", ["cpu", "device"])
def test_features_are_those_of_the_centre_that_the_network_sees(way, images):
    backbone = build_backbone(TINY, pretrained=False)
    whole = torch.from_numpy(np.concatenate(list(features._on_device(backbone, images, CPU))))
    images.pixels = np.pad(images.pixels, ((0, 0), (3, 4), (3, 4), (0, 0)))
    seen = features._on_cpu if way == "cpu" else lambda *some: features._on_device(*some, CPU)
    centre = torch.from_numpy(np.concatenate(list(seen(backbone, images))))
    torch.testing.assert_close(centre, whole, atol=1e-3, rtol=1e-3)


def test_weights_can_be_trained_after_their_features_were_computed(images):
    backbone = build_backbone(TINY, pretrained=False)
    list(features._on_device(backbone, images, CPU))
    assert not any(tensor.is_inference() for tensor in backbone.state_dict(keep_vars=True).values())


def test_features_are_found_again_unless_the_weights_differ(backbone, images, monkeypatch):
    computed = []

    def compute(backbone, images):
        computed.append(backbone)
        yield np.full((len(images), 3), len(computed), np.float32)

    monkeypatch.setattr(features, "_on_cpu", compute)
    other = build_backbone(TINY, pretrained=False)
    found = [extract(one, images, CPU)[0, 0].item() for one in (backbone, backbone, other, backbone)]
    assert computed == [backbone, other] and found == [1, 1, 2, 1]


def test_interrupted_computation_leaves_no_features(backbone, images, monkeypatch):
    def interrupt(*_):
        yield np.zeros((1, 3), np.float32)
        raise KeyboardInterrupt

    monkeypatch.setattr(features, "_on_cpu", interrupt)
    with pytest.raises(KeyboardInterrupt):
        extract(backbone, images, CPU)
    assert not list(images.path.parent.glob(f"{images.path.stem}.*.npy"))

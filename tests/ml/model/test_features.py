"""Features come from the last three stages of every architecture, and the network answers as before."""

import pytest
import torch

from ml.model.architectures import build
from ml.model.catalog import ARCHITECTURES
from ml.model.features import MOST_CHANNELS, Features, stages

STAGES = {
    "resnet18_slim": ["layer2", "layer3", "layer4"],
    "resnet20_lite": ["layer2", "layer3", "layer4"],
    "resnet50": ["layer2", "layer3", "layer4"],
    "mobilenet_v3_small": ["features.3", "features.8", "features.12"],
    "convnext_tiny": ["features.3", "features.5", "features.7"],
}


@pytest.mark.parametrize("architecture", STAGES)
def test_stages_are_where_the_map_gets_smaller(architecture):
    network = build(architecture, 2)
    assert stages(network) == STAGES[architecture]
    assert network.training, "left in another mode"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_are_the_networks_and_features_the_means_of_its_stages(architecture):
    torch.manual_seed(0)
    network = build(architecture, 3).eval()
    pictures = torch.randn(2, 3, 64, 64)
    names, seen = stages(network), {}
    for name in names:
        network.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    with torch.inference_mode():
        expected = network(pictures)
        means = torch.cat([seen[name].mean((2, 3))[:, :MOST_CHANNELS] for name in names], 1)
        logits, features = Features(network)(pictures)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(features * features.abs(), means, atol=1e-4, rtol=1e-3)
    assert features.shape[1] <= 3 * MOST_CHANNELS

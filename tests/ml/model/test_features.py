"""Features come from the last three stages of every architecture, and the logits are unchanged."""

import pytest
import torch

from ml.model.architectures import build
from ml.model.catalog import ARCHITECTURES
from ml.model.features import MAX_CHANNELS, Features, stages

STAGES = {
    "resnet18_slim": ["layer2", "layer3", "layer4"],
    "resnet20_lite": ["layer2", "layer3", "layer4"],
    "resnet50": ["layer2", "layer3", "layer4"],
    "mobilenet_v3_small": ["features.3", "features.8", "features.12"],
    "convnext_tiny": ["features.3", "features.5", "features.7"],
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_features_are_means_of_the_last_stages(architecture):
    torch.manual_seed(0)
    network = build(architecture, 3)
    names = stages(network)
    assert names == STAGES.get(architecture, names) and network.training, "left in another mode"
    network.eval()
    images, seen = torch.randn(2, 3, 64, 64), {}
    for name in names:
        network.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    with torch.inference_mode():
        expected = network(images)
        means = torch.cat([seen[name].mean((2, 3))[:, :MAX_CHANNELS] for name in names], 1)
        logits, features = Features(network)(images)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(features * features.abs(), means, atol=1e-4, rtol=1e-3)
    assert features.shape[1] <= 3 * MAX_CHANNELS

"""The fused stem computes what the first layers of the network compute."""

import numpy as np
import pytest
import torch
from torch import nn

from ml.export.fused_stem import split_stem
from ml.model.architectures import build
from ml.model.catalog import ARCHITECTURES
from tests.ml.bordered import bordered

SHAPES = [(1, 1, 0), (3, 1, 1), (1, 2, 0), (2, 2, 0), (5, 2, 2), (7, 4, 3)]


def outputs(network, pixels, mirrored):
    """Compute the network's outputs for images and, next to each, for its mirror image."""
    if mirrored:
        pixels = torch.stack([pixels, pixels.flip(2)], 1).flatten(0, 1)
    network, inputs = bordered(network, pixels)
    return network(inputs)


def noise(side):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, side, side, 3), np.uint8))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_split_network_has_the_outputs_of_the_whole(architecture, mirrored):
    torch.manual_seed(0)
    pixels = noise(62)
    network = build(architecture, 3)
    with torch.no_grad():
        for _ in range(3):  # moves the batch statistics away from their neutral start
            network(torch.randn(8, 3, 64, 64))
    network.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    stem, rest = split_stem(network, pixels.shape[1], mirrored)
    with torch.inference_mode():
        expected = outputs(network, pixels, mirrored)
        found = rest(stem(pixels))
    assert expected.std() > 1e-6
    torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.std()), rtol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding"), SHAPES)
@pytest.mark.parametrize("side", [48, 49, 50, 51])
def test_stem_has_the_outputs_of_convolutions_of_every_shape(kernel, stride, padding, mirrored, side):
    torch.manual_seed(0)
    pixels = noise(side)
    network = nn.Sequential(nn.Conv2d(3, 5, kernel, stride, padding), nn.Flatten(), nn.Softmax(1)).eval()
    stem, _ = split_stem(network, pixels.shape[1], mirrored)
    with torch.inference_mode():
        torch.testing.assert_close(stem(pixels), outputs(network[:1], pixels, mirrored), atol=1e-4, rtol=1e-4)

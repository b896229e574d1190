"""What the first convolution takes over makes no difference to the answers."""

import numpy as np
import pytest
import torch
from torch import nn

from ml.absorb import absorb, border
from ml.model import LITE, build, normalise


@pytest.mark.parametrize("architecture", [LITE, "mobilenet_v3_small", "efficientnet_b0", "resnet18"])
def test_every_kind_of_network_answers_as_with_normalised_pictures(architecture):
    torch.manual_seed(0)
    network = build(architecture, 3).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8))
    absorbed, width = absorb(network)
    with torch.inference_mode():
        answers = absorbed(border(pixels.permute(0, 3, 1, 2).float(), width))
        torch.testing.assert_close(answers, network(normalise(pixels)), atol=1e-4, rtol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_bias_that_is_there_is_kept():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=True)).eval()
    pixels = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
    absorbed, width = absorb(network)
    answers = absorbed(border(pixels.permute(0, 3, 1, 2).float(), width))
    torch.testing.assert_close(answers, network(normalise(pixels)), atol=1e-4, rtol=1e-4)


def test_a_network_without_padding_gets_no_border():
    _, width = absorb(nn.Sequential(nn.Conv2d(3, 4, 4, stride=4)))
    assert width == 0
    assert border(torch.zeros(1, 3, 8, 8), width).shape == (1, 3, 8, 8)

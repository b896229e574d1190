"""Reproduce the fused stem's border: the mean colour rounded to whole levels, where training pads with exact zeros."""

import copy

import torch
from torch import Tensor, nn

from ml.model.architectures import normalise

COLOUR = (124, 116, 104)


def bordered(network: nn.Module, pixels: Tensor) -> tuple[nn.Module, Tensor]:
    """Move the padding of the first convolution from the network to the images.

    Args:
        network: Takes normalised ``(n, 3, h, w)``.
        pixels: uint8, shape ``(n, h, w, 3)``.

    Returns:
        A copy of the network, and normalised images for it.
    """
    network = copy.deepcopy(network).eval()  # a copy of a traced network is in training mode
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    border = first.padding[0]
    first.padding = (0, 0)
    n, height, width, _ = pixels.shape
    framed = torch.tensor(COLOUR, dtype=torch.uint8).repeat(n, height + 2 * border, width + 2 * border, 1)
    framed[:, border : border + height, border : border + width] = pixels
    return network, normalise(framed)

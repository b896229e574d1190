"""What a served network sees: the mean colour around a picture in whole levels, where training has exact zeros."""

import copy

import torch
from torch import Tensor, nn

from ml.model.architectures import normalise

COLOUR = (124, 116, 104)


def bordered(network: nn.Module, pixels: Tensor) -> tuple[nn.Module, Tensor]:
    """Take the padding from a copy of the network's first convolution, and lay it around the pictures.

    Args:
        network: Takes normalised ``(n, 3, h, w)``.
        pixels: uint8, shape ``(n, h, w, 3)``.

    Returns:
        The copy, and normalised pictures for it.
    """
    network = copy.deepcopy(network).eval()  # a copy of a traced network is in training mode
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    width = first.padding[0]
    first.padding = (0, 0)
    n, height, breadth, _ = pixels.shape
    framed = torch.tensor(COLOUR, dtype=torch.uint8).repeat(n, height + 2 * width, breadth + 2 * width, 1)
    framed[:, width : width + height, width : width + breadth] = pixels
    return network, normalise(framed)

"""A network that takes pixels as they are: its first convolution does the normalising too.

In the graph the normalising would take as long as several layers: a processor is slow at one number for each of three
channels.
"""

import copy

import torch
from torch import Tensor, nn

from ml.model import MEAN, STD


def absorb(network: nn.Module) -> tuple[nn.Module, int]:
    """Put the normalising into a copy of a network.

    Args:
        network: Takes normalised ``(n, 3, h, w)``; its first convolution is the first thing that it does.

    Returns:
        The copy, which takes pixels of 0 to 255 with a ``border`` around them, and the width of that border: zeros that
        a convolution adds by itself would not be the mean colour any more.
    """
    network = copy.deepcopy(network)
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    width = int(first.padding[0])
    scale = torch.tensor([1 / (255 * std) for std in STD])[:, None, None]
    shift = torch.tensor([mean / std for mean, std in zip(MEAN, STD, strict=True)])[:, None, None]
    bias = -(first.weight.detach() * shift).sum((1, 2, 3))
    first.bias = nn.Parameter(bias if first.bias is None else bias + first.bias.detach())
    first.weight = nn.Parameter(first.weight.detach() * scale)
    first.padding = (0, 0)
    return network, width


def border(pictures: Tensor, width: int) -> Tensor:
    """Lay the mean colour around pictures.

    Args:
        pictures: RGB of 0 to 255, float, shape ``(n, 3, h, w)``.
        width: Of the border, pixels.

    Returns:
        The same, of shape ``(n, 3, h + 2 · width, w + 2 · width)``.
    """
    if width == 0:
        return pictures
    colour = torch.tensor([255 * mean for mean in MEAN])[:, None, None]
    n, _, height, _ = pictures.shape
    left = colour.expand(n, 3, height, width)
    pictures = torch.cat([left, pictures, left], 3)
    above = colour.expand(n, 3, width, pictures.shape[3])
    return torch.cat([above, pictures, above], 2)

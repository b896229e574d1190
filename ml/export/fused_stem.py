"""The first layers of a network, made for pixels as they lie in memory: they took a fifth of the time of a run.

Three colours are too few numbers for a processor to work on at once. So a convolution here takes blocks of four pixels,
which lie side by side anyway, with all the outputs that belong to a block as channels: to get there and back is to
call the same numbers by another shape. It does the normalising, and a batch normalisation behind it, as well. The
mirror image is not made: its outputs are those of the mirrored weights, in the reverse order.
"""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ml.model.architectures import MEAN, STD

BLOCK = 4  # pixels
COLOURS = 3
ELEMENTWISE = (nn.ReLU, nn.Hardswish, nn.SiLU)


class Stem(nn.Module):
    """A convolution of stride 1, 2 or 4, and an activation, on pixels."""

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module, side: int, mirrored: bool) -> None:
        """Arrange a convolution's weights anew.

        Args:
            convolution: Takes normalised ``(n, 3, side, side)``.
            activation: What comes behind it, element by element.
            side: Of the pictures, pixels.
            mirrored: Give the mirror image's outputs too.
        """
        super().__init__()
        self.channels = convolution.out_channels
        self.kernel, self.stride = int(convolution.kernel_size[0]), int(convolution.stride[0])
        self.border = int(convolution.padding[0])
        self.mirrored = mirrored
        self.activation = activation
        steps, rest = divmod(side + 2 * self.border - self.kernel, self.stride)
        self.side = steps + 1  # of the outputs
        abreast = BLOCK // self.stride  # outputs of a block
        self.blocks = math.ceil(self.side / abreast)
        # Where the block of the mirror image's last outputs begins: its first begin at the right end. What is left of
        # the picture then is a wider border.
        last = rest - (self.blocks * abreast - self.side) * self.stride
        self.left = max(0, -last)
        last += self.left
        self.width = math.ceil((max(self.left, last) + BLOCK - self.stride + self.kernel) / BLOCK)  # kernel's, blocks
        weight, bias = _denormalised(convolution)
        starts = range(0, BLOCK, self.stride)
        weights = [self._blocks(weight, self.left + start) for start in starts]
        if mirrored:
            weights += [self._blocks(weight.flip(3), last + start) for start in reversed(starts)]
        shape = (self.kernel, self.width)
        self.convolution = nn.Conv2d(BLOCK * COLOURS, 1, shape, stride=(self.stride, 1))
        self.convolution.weight = nn.Parameter(torch.cat(weights))
        self.convolution.bias = nn.Parameter(bias.repeat(len(weights)))

    def _blocks(self, weight: Tensor, start: int) -> Tensor:
        """Give the weights ``(channels, 12, kernel, width)`` of the output that begins at a pixel of a block."""
        wide = pad(weight, (start, BLOCK * self.width - start - self.kernel))
        return wide.unflatten(3, (self.width, BLOCK)).permute(0, 4, 1, 2, 3).flatten(1, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        """Give the outputs of RGB pictures.

        Args:
            pixels: uint8, shape ``(n, side, side, 3)``.

        Returns:
            Shape ``(n, channels, h, w)``, as of the convolution; or ``(2 · n, …)``, each before its mirror image's.
        """
        wide = self._bordered(pixels, BLOCK * (self.blocks + self.width - 1))
        values = wide.unflatten(2, (-1, BLOCK)).flatten(3).permute(0, 3, 1, 2).to(torch.float32)
        values = self.activation(self.convolution(values)).permute(0, 2, 3, 1)
        if self.mirrored:
            # Two entries a block, the picture's and the mirror image's: sorted, they are two rows side by side.
            order = torch.tensor([*range(0, 2 * self.blocks, 2), *reversed(range(1, 2 * self.blocks, 2))])
            values = values.unflatten(3, (2, -1)).flatten(2, 3).index_select(2, order)
            values = values.unflatten(2, (2, -1)).transpose(1, 2).flatten(0, 1)
        values = values.unflatten(3, (-1, self.channels)).flatten(2, 3)
        return values.narrow(2, 0, self.side).permute(0, 3, 1, 2)

    def _bordered(self, pixels: Tensor, width: int) -> Tensor:
        """Lay the mean colour around pictures, where a convolution adds zeros to normalised ones; up to a width."""
        n, height = pixels.shape[:2]
        colour = torch.tensor([round(255 * mean) for mean in MEAN], dtype=torch.uint8)
        left = self.left + self.border
        right = width - left - pixels.shape[2]
        row = [colour.expand(n, height, left, COLOURS), pixels, colour.expand(n, height, right, COLOURS)]
        above = colour.expand(n, self.border, width, COLOURS)
        return torch.cat([above, torch.cat(row, 2), above], 1)


def with_stem(network: nn.Module, side: int, mirrored: bool) -> tuple[Stem, nn.Module]:
    """Cut a network behind its first layers.

    Args:
        network: Takes normalised ``(n, 3, side, side)``; its first module is a convolution, and no other uses its
            first activation.
        side: Of the pictures, pixels.
        mirrored: See ``Stem``.

    Returns:
        The first layers, and a copy of the network that goes on from their outputs.
    """
    network = copy.deepcopy(network).eval()
    leaves = [(name, module) for name, module in network.named_modules() if not list(module.children())]
    names, modules = zip(*leaves[:3], strict=True)
    convolution, activation = modules[0], nn.Identity()
    taken = 1
    if isinstance(modules[taken], nn.BatchNorm2d):
        convolution = fuse_conv_bn_eval(convolution, modules[taken])
        taken += 1
    if isinstance(modules[taken], ELEMENTWISE):
        activation = modules[taken]
        taken += 1
    for name in names[:taken]:
        network.set_submodule(name, nn.Identity())
    return Stem(convolution, activation, side, mirrored), network


def _denormalised(convolution: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weights and bias of the same convolution of pixels of 0 to 255."""
    weight = convolution.weight.detach()
    scale = torch.tensor([1 / (255 * std) for std in STD])[:, None, None]
    shift = torch.tensor([mean / std for mean, std in zip(MEAN, STD, strict=True)])[:, None, None]
    bias = -(weight * shift).sum((1, 2, 3))
    return weight * scale, bias if convolution.bias is None else bias + convolution.bias.detach()

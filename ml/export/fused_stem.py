"""Fuse the first layers of a network and compute them on pixels as they lie in memory.

Three colour channels are too few for a CPU's vector units: the first layers took a fifth of a run's time. The fused
convolution takes blocks of four neighbouring pixels instead, with all outputs of a block as channels. The change of
layout is a reshape without a copy. Normalisation and a following batch normalisation are included. The mirror image is
never made: its outputs come from mirrored weights, in reverse order.
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


class FusedStem(nn.Module):
    """A convolution of stride 1, 2 or 4 and an activation, computed on pixels."""

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module, side: int, mirrored: bool) -> None:
        """Rearrange the weights of a convolution of normalised ``(n, 3, side, side)``.

        If ``mirrored``, the outputs of the mirror image are computed too.
        """
        super().__init__()
        self.channels = convolution.out_channels
        self.kernel, self.stride = int(convolution.kernel_size[0]), int(convolution.stride[0])
        self.border = int(convolution.padding[0])
        self.mirrored = mirrored
        self.activation = activation
        steps, rest = divmod(side + 2 * self.border - self.kernel, self.stride)
        self.side = steps + 1  # of the outputs
        outputs_per_block = BLOCK // self.stride
        self.blocks = math.ceil(self.side / outputs_per_block)
        # The mirror image's first outputs begin at the right end; this is the first pixel of the block of its last
        # outputs. If it is negative, the border is widened.
        last = rest - (self.blocks * outputs_per_block - self.side) * self.stride
        self.left = max(0, -last)
        last += self.left
        self.width = math.ceil((max(self.left, last) + BLOCK - self.stride + self.kernel) / BLOCK)  # kernel's, blocks
        weight, bias = _on_pixels(convolution)
        starts = range(0, BLOCK, self.stride)
        weights = [self._blocks(weight, self.left + start) for start in starts]
        if mirrored:
            weights += [self._blocks(weight.flip(3), last + start) for start in reversed(starts)]
        shape = (self.kernel, self.width)
        self.convolution = nn.Conv2d(BLOCK * COLOURS, 1, shape, stride=(self.stride, 1))
        self.convolution.weight = nn.Parameter(torch.cat(weights))
        self.convolution.bias = nn.Parameter(bias.repeat(len(weights)))

    def _blocks(self, weight: Tensor, start: int) -> Tensor:
        """Arrange weights as ``(channels, 12, kernel, width)`` for the output that begins at a pixel of a block."""
        wide = pad(weight, (start, BLOCK * self.width - start - self.kernel))
        return wide.unflatten(3, (self.width, BLOCK)).permute(0, 4, 1, 2, 3).flatten(1, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute the outputs ``(n, channels, h, w)`` for uint8 RGB pixels ``(n, side, side, 3)``.

        If mirrored, they are ``(2 · n, …)``: each image's outputs precede the outputs of its mirror image.
        """
        wide = self._add_border(pixels, BLOCK * (self.blocks + self.width - 1))
        values = wide.unflatten(2, (-1, BLOCK)).flatten(3).permute(0, 3, 1, 2).to(torch.float32)
        values = self.activation(self.convolution(values)).permute(0, 2, 3, 1)
        if self.mirrored:
            # Each block has two entries, the image's and the mirror image's. Sorted, they form two adjacent rows.
            order = torch.tensor([*range(0, 2 * self.blocks, 2), *reversed(range(1, 2 * self.blocks, 2))])
            values = values.unflatten(3, (2, -1)).flatten(2, 3).index_select(2, order)
            values = values.unflatten(2, (2, -1)).transpose(1, 2).flatten(0, 1)
        values = values.unflatten(3, (-1, self.channels)).flatten(2, 3)
        return values.narrow(2, 0, self.side).permute(0, 3, 1, 2)

    def _add_border(self, pixels: Tensor, width: int) -> Tensor:
        """Pad images to a width with the mean colour, which equals a zero after normalisation."""
        n, height = pixels.shape[:2]
        colour = torch.tensor([round(255 * mean) for mean in MEAN], dtype=torch.uint8)
        left = self.left + self.border
        right = width - left - pixels.shape[2]
        row = [colour.expand(n, height, left, COLOURS), pixels, colour.expand(n, height, right, COLOURS)]
        above = colour.expand(n, self.border, width, COLOURS)
        return torch.cat([above, torch.cat(row, 2), above], 1)


def split_stem(network: nn.Module, side: int, mirrored: bool) -> tuple[FusedStem, nn.Module]:
    """Split a network of normalised ``(n, 3, side, side)`` into its fused stem and a copy without it.

    The network's first module must be a convolution, and its first activation must be used once.
    """
    network = copy.deepcopy(network).eval()
    leaves = [(name, module) for name, module in network.named_modules() if not list(module.children())]
    names, modules = zip(*leaves[:3], strict=True)
    convolution, activation = modules[0], nn.Identity()
    fused = 1
    if isinstance(modules[fused], nn.BatchNorm2d):
        convolution = fuse_conv_bn_eval(convolution, modules[fused])
        fused += 1
    if isinstance(modules[fused], ELEMENTWISE):
        activation = modules[fused]
        fused += 1
    for name in names[:fused]:
        network.set_submodule(name, nn.Identity())
    return FusedStem(convolution, activation, side, mirrored), network


def _on_pixels(convolution: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Return the weights and bias of the same convolution on pixels from 0 to 255."""
    weight = convolution.weight.detach()
    scale = torch.tensor([1 / (255 * std) for std in STD])[:, None, None]
    shift = torch.tensor([mean / std for mean, std in zip(MEAN, STD, strict=True)])[:, None, None]
    bias = -(weight * shift).sum((1, 2, 3))
    return weight * scale, bias if convolution.bias is None else bias + convolution.bias.detach()

"""Export a backbone as an ONNX graph from pixels to features, once for each set of weights."""

import hashlib
import inspect
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from ml.atomic import whole_file
from ml.model import backbones
from ml.model.backbones import Backbone
from ml.model.onnx_graph import to_onnx

PIXELS, FEATURES = "pixels", "features"


class PixelFeatures(nn.Module):
    """A backbone that takes pixels as they are decoded, and sees the centre of each image."""

    def __init__(self, backbone: Backbone, seen: int) -> None:
        """Wrap a backbone that sees the central square of ``seen`` pixels a side."""
        super().__init__()
        self.backbone, self.seen = backbone, seen

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute the features ``(n, features)`` of uint8 RGB images ``(n, side, side, 3)``."""
        centre = central_square(pixels.permute(0, 3, 1, 2), self.seen)
        features: Tensor = self.backbone(centre.to(torch.float32))
        return features


def central_square(images: Tensor, side: int) -> Tensor:
    """Cut the central square out of square images ``(n, channels, height, width)``."""
    start = (images.shape[-1] - side) // 2
    whole = images.shape[-1] == side  # the graph then needs no node for it
    return images if whole else images[..., start : start + side, start : start + side]


def pixel_features_graph(backbone: Backbone, side: int, seen: int, cache: Path) -> onnx.ModelProto:
    """Export a backbone that sees the central square of ``seen`` pixels, or find the graph in the cache.

    The export takes longer than 500 images.

    Returns:
        A graph from ``pixels`` ``(n, side, side, 3)``, uint8 RGB, to ``features`` ``(n, features)``.

    Raises:
        OSError: The cache cannot be written.
    """
    path = cache / f"{fingerprint(backbone)}-{side}-{seen}.onnx"
    if not path.exists():
        example = torch.zeros((2, side, side, 3), dtype=torch.uint8)
        graph = to_onnx(PixelFeatures(backbone.cpu(), seen), example, [PIXELS], [FEATURES])
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, shared=True) as file:
            file.write(graph.SerializeToString())
    return onnx.load(path)


def fingerprint(backbone: Backbone) -> str:
    """Hash the backbone's code, tensors and their values: other weights have other features."""
    digest = hashlib.sha256(inspect.getsource(backbones).encode())
    for name, tensor in backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy())
    return digest.hexdigest()[:16]

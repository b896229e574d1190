"""Classification as in the common tutorial: full decoding with Pillow, torchvision's transforms, eager PyTorch.

Architecture and input size are the served bundle's. The weights are random: speed does not depend on them.
"""

import io
import os
from pathlib import Path

import torch
from PIL import Image
from torchvision.transforms import v2

from bundle.load import load
from ml.model.classifier import build
from ml.model.names import SCRATCH


class Eager:
    """A network on one thread; the server runs one process per CPU."""

    def __init__(self) -> None:
        """Build the network that the manifest in ``MODEL_DIR`` names, by default the shipped one.

        Raises:
            BundleError: The bundle is not valid.
        """
        torch.set_num_threads(1)
        manifest = load(Path(os.environ.get("MODEL_DIR", "models/champion"))).manifest
        self._classes, size = manifest.classes, manifest.input.size
        self._network = build(manifest.training.architecture, len(self._classes), SCRATCH).eval()
        # The network normalises.
        self._transform = v2.Compose([v2.Resize((size, size)), v2.ToImage(), v2.ToDtype(torch.float32)])

    @torch.inference_mode()
    def probabilities(self, image: bytes) -> dict[str, float]:
        """Classify an encoded image; return a number for each class."""
        pixels = self._transform(Image.open(io.BytesIO(image)).convert("RGB"))[None]
        row = self._network(pixels)[0].softmax(0)
        return dict(zip(self._classes, row.tolist(), strict=True))

"""The way of the common tutorial: the whole picture decoded with Pillow, torchvision's transforms, eager PyTorch.

The architecture, the size, and whether the mirror image is looked at too, are the served bundle's. The weights are not
trained: speed does not depend on them.
"""

import io
import os
from pathlib import Path

import torch
from PIL import Image
from torchvision.transforms import v2

from bundle import load as bundle_folder
from ml.model.architectures import MEAN, STD, build


class Eager:
    """A network on one thread; the server runs as many processes as there are processors."""

    def __init__(self) -> None:
        """Build the network that the manifest in ``MODEL_DIR`` names, by default the shipped one.

        Raises:
            BundleError: The bundle cannot be read.
        """
        torch.set_num_threads(1)
        manifest = bundle_folder.load(Path(os.environ.get("MODEL_DIR", "models/champion"))).manifest
        self._mirrored = manifest.mirrored
        self._classes, size = manifest.classes, manifest.input.size
        self._network = build(manifest.training.architecture, len(self._classes)).eval()
        self._transform = v2.Compose(
            [
                v2.Resize((size, size)),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    @torch.inference_mode()
    def probabilities(self, picture: bytes) -> dict[str, float]:
        """Classify an encoded picture: a number for each class."""
        image = Image.open(io.BytesIO(picture)).convert("RGB")
        pictures = self._transform(image)[None]
        if self._mirrored:
            pictures = torch.cat([pictures, pictures.flip(3)])
        row = self._network(pictures).mean(0).softmax(0)
        return dict(zip(self._classes, row.tolist(), strict=True))

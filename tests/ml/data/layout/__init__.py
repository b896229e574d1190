import io
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from ml.data.layout.listing import Listing
from tests import drawn_images


def image(seed: int, kind: str = "PNG") -> bytes:
    """Draw soft colours, as photos have; each seed differs from all others."""
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return drawn_images.encode(Image.fromarray(pixels).resize((60, 45), Image.Resampling.BICUBIC), kind)


def make(folder: Path, counts: Mapping[str, int], seed: int = 0) -> Path:
    """Draw files; a name such as ``train/cat/{}.png`` takes a number."""
    for name, count in counts.items():
        for number in range(count):
            seed += 1
            path = folder / name.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image(seed))
    return folder


def zipped(folder: Path, archive: Path) -> Path:
    """Pack a folder, with its own name as the outer folder."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for path in sorted(folder.rglob("*.*")):
            file.write(path, path.relative_to(folder.parent))
    archive.write_bytes(content.getvalue())
    return archive


def counted(listing: Listing) -> dict[tuple[str | None, str], int]:
    """Count files by split and class."""
    return dict(Counter((file.split, file.class_name) for file in listing.files))

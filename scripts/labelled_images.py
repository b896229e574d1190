"""Labelled pictures for the monitor in the cluster: ``python -m scripts.labelled_images FOLDER [NUMBER]``.

Prints the ConfigMap ``labelled-images``. It goes into the cluster by server-side apply, because kubectl's own records
what it applied in an annotation, and that holds a quarter of a ConfigMap's size:

    python -m scripts.labelled_images FOLDER | kubectl apply --server-side --force-conflicts -f -
"""

import argparse
import base64
import io
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from bundle.load import BundleError, load
from bundle.preprocess import ImageError, decode
from services.monitor.test_images import SEPARATOR, Labelled, TestImagesError, labelled

CHAMPION = Path(__file__).resolve().parent.parent / "models" / "champion"
NUMBER = 20
# A ConfigMap holds 1 MiB of values, 1,048,576 bytes.
LIMIT = 1_040_000
# What large pictures are scaled down to, the first that fits: longer side in pixels, and quality as JPEG.
SIZES = ((512, 85), (384, 85), (256, 85), (192, 85), (128, 85), (128, 70))
LEGAL = re.compile(r"[-._a-zA-Z0-9]+")
KEY_LENGTH = 100


class LabelledImagesError(Exception):
    """The pictures cannot become a ConfigMap; the message is one sentence that says why."""


def choose(folder: Path, number: int, classes: list[str]) -> list[Labelled]:
    """Pick pictures, each class alike and the same ones every time.

    Args:
        folder: A sub-folder per class, or files named ``<label>__anything.jpg``.
        number: At most so many in all; what does not divide by the classes is left off.
        classes: What the model answers.

    Returns:
        As many of each class as of every other, spread evenly over its files.

    Raises:
        LabelledImagesError: Labels that the model does not know or that no key may hold, or too few pictures.
    """
    try:
        found = labelled(folder, sys.maxsize)
    except TestImagesError as error:
        raise LabelledImagesError(str(error)) from error
    by_label: dict[str, list[Labelled]] = {}
    for picture in found:
        by_label.setdefault(picture.label.casefold(), []).append(picture)
    known = {name.casefold() for name in classes}
    if by_label.keys() != known:
        raise LabelledImagesError(
            f"{folder} has pictures of {_names(by_label)}, but the model answers {_names(classes)}: "
            "there must be a folder for each, named like it."
        )
    if bad := [name for name in sorted(by_label) if not LEGAL.fullmatch(name) or SEPARATOR in f"{name}_"]:
        raise LabelledImagesError(
            f"A ConfigMap cannot hold pictures of {_names(bad)}: its keys have no characters but A-Z, a-z, 0-9, "
            f"- _ and the point, and a label ends at {SEPARATOR}. Mount such pictures from a volume instead."
        )
    share = min(number // len(known), *map(len, by_label.values()))
    if share < 1:
        raise LabelledImagesError(f"{number} pictures are less than one for each of {_names(classes)}: ask for more.")
    return [pictures[i * len(pictures) // share] for _, pictures in sorted(by_label.items()) for i in range(share)]


def config_map(pictures: list[Labelled], limit: int = LIMIT) -> tuple[dict[str, Any], int]:
    """Put pictures into a ConfigMap, scaling down those that are too big for their share of it.

    Args:
        pictures: From ``choose``.
        limit: Bytes of all pictures together.

    Returns:
        The ConfigMap, and how many pictures were scaled down.

    Raises:
        LabelledImagesError: A picture cannot be read, or so many do not fit however small.
    """
    files = [_checked(picture.path) for picture in pictures]
    fitting = _fitting(files, limit)
    data = {}
    for number, (picture, file, content) in enumerate(zip(pictures, files, fitting, strict=True)):
        suffix = picture.path.suffix.lower() if content is file else ".jpg"
        data[_key(picture, number, suffix)] = base64.b64encode(content).decode()
    scaled = sum(content is not file for content, file in zip(fitting, files, strict=True))
    metadata = {"name": "labelled-images", "namespace": "monitoring"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": data}, scaled


def _checked(path: Path) -> bytes:
    """The file, if the service will take it for a picture: one that it refuses would be a failure in every check."""
    try:
        content = path.read_bytes()
        decode(content, 128, "stretch")
    except (OSError, ImageError) as error:
        raise LabelledImagesError(f"{path} is of no use. {error}") from error
    return content


def _fitting(files: list[bytes], limit: int) -> list[bytes]:
    """The files themselves, or, of those larger than an equal share, what is scaled down as little as need be."""
    fitting, share = files, limit // len(files)
    for size in SIZES:
        if sum(map(len, fitting)) <= limit:
            return fitting
        fitting = [file if len(file) <= share else min(file, _scaled(file, *size), key=len) for file in files]
    if sum(map(len, fitting)) <= limit:
        return fitting
    raise LabelledImagesError(f"{len(files)} pictures do not fit into a ConfigMap, which holds 1 MiB: ask for fewer.")


def _scaled(content: bytes, side: int, quality: int) -> bytes:
    with Image.open(io.BytesIO(content)) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.has_transparency_data:  # the service lays it on white too
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _key(picture: Labelled, number: int, suffix: str) -> str:
    stem = picture.path.stem.removeprefix(f"{picture.label}{SEPARATOR}")
    stem = "".join(char if LEGAL.fullmatch(char) else "-" for char in stem)
    # The number keeps apart what these changes make equal.
    return f"{picture.label}{SEPARATOR}{number:03d}-{stem[:KEY_LENGTH]}{suffix}"


def _names(labels: Iterable[str]) -> str:
    return ", ".join(sorted(labels)) or "nothing"


def main() -> int:
    """Print the ConfigMap; 2 if there is none to print."""
    parser = argparse.ArgumentParser(prog="python -m scripts.labelled_images", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="labelled pictures: a sub-folder per class")
    parser.add_argument("number", type=int, nargs="?", default=NUMBER, help=f"pictures in all ({NUMBER})")
    parser.add_argument("--bundle", type=Path, default=CHAMPION, help="the model that is asked (models/champion)")
    arguments = parser.parse_args()
    try:
        classes = load(arguments.bundle).manifest.classes
        pictures = choose(arguments.folder, arguments.number, classes)
        made, scaled = config_map(pictures)
    except (BundleError, LabelledImagesError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    note = f", {scaled} of them scaled down" if scaled else ""
    sys.stderr.write(f"{len(pictures)} pictures, {len(pictures) // len(classes)} of each class{note}\n")
    # JSON is YAML too.
    sys.stdout.write(json.dumps(made, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

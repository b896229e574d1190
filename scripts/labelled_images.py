"""Print a ConfigMap of labelled images for the monitor in the cluster.

Apply it on the server, because kubectl's own apply keeps a copy in an annotation, which holds a quarter of its size:

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

from bundle.files import BundleError
from bundle.image_file import open_image
from bundle.load import load
from bundle.preprocess import ImageError, decode, decode_whole
from services.monitor.result import class_name
from services.monitor.test_images import LABEL_NAMES, SEPARATOR, Labelled, TestImagesError, labelled

CHAMPION = Path(__file__).resolve().parent.parent / "models" / "champion"
NUMBER = 20
LIMIT = 1_040_000  # bytes; a ConfigMap holds 1 MiB
# Longer side in pixels and JPEG quality of scaled images; the first pair that fits is used.
SIZES = ((512, 85), (384, 85), (256, 85), (192, 85), (128, 85), (128, 70))
LEGAL = re.compile(r"[-._a-zA-Z0-9]+")
KEY_LENGTH = 100


class LabelledImagesError(Exception):
    """The images cannot become a ConfigMap; the message says why in one sentence."""


def choose(folder: Path, number: int, classes: list[str]) -> list[Labelled]:
    """Choose the same number of images of each class, spread evenly over its files.

    Args:
        folder: A sub-folder per class, or files named ``<label>__anything.jpg``.
        number: Most images in all, rounded down to a multiple of the classes.
        classes: Classes of the model.

    Raises:
        LabelledImagesError: The labels are not the classes, or images are missing.
    """
    try:
        found = labelled(folder)
    except TestImagesError as error:
        raise LabelledImagesError(str(error)) from error
    for note in found.notes():
        sys.stderr.write(f"{note}\n")
    by_label: dict[str, list[Labelled]] = {}
    for image in found.images:
        by_label.setdefault(class_name(image.label), []).append(image)
    known = set(map(class_name, classes))
    if by_label.keys() != known:
        raise LabelledImagesError(
            f"{folder} has images of {_names(by_label)}, but the model predicts {_names(classes)}: "
            "each class needs a folder of its name."
        )
    share = min(number // len(known), *map(len, by_label.values()))
    if share < 1:
        raise LabelledImagesError(f"{number} images are less than one for each of {_names(classes)}: ask for more.")
    return [images[i * len(images) // share] for _, images in sorted(by_label.items()) for i in range(share)]


def config_map(images: list[Labelled], limit: int = LIMIT) -> tuple[dict[str, Any], int]:
    """Put images into a ConfigMap, and scale down large ones so that all fit.

    Args:
        images: From ``choose``.
        limit: Bytes of all images together.

    Returns:
        The ConfigMap, and the number of images that were scaled down.

    Raises:
        LabelledImagesError: An image cannot be read, or the images do not fit.
    """
    codes = _codes([image.label for image in images])
    index = {code: label for label, code in codes.items() if code != label}
    names = json.dumps(index, ensure_ascii=False) if index else ""
    files = [_checked(image.path) for image in images]
    fitting = _fit(files, limit - len(names.encode()))
    data = {}
    for number, (image, file, content) in enumerate(zip(images, files, fitting, strict=True)):
        suffix = _suffix(file) if content is file else ".jpg"
        data[_key(codes[image.label], image, number, suffix)] = base64.b64encode(content).decode()
    scaled = sum(content is not file for content, file in zip(fitting, files, strict=True))
    made: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap"}
    made |= {"metadata": {"name": "labelled-images", "namespace": "monitoring"}, "binaryData": data}
    return made | ({"data": {LABEL_NAMES: names}} if names else {}), scaled


def _codes(labels: Iterable[str]) -> dict[str, str]:
    """Give each label a code that a key may begin with: itself, or a number if any label is not allowed in keys."""
    distinct = list(dict.fromkeys(labels))
    if all(LEGAL.fullmatch(label) and len(label) <= KEY_LENGTH and SEPARATOR not in f"{label}_" for label in distinct):
        return {label: label for label in distinct}
    return {label: f"label-{number:03d}" for number, label in enumerate(distinct)}


def _suffix(content: bytes) -> str:
    return f".{open_image(content, least=1).image.format}".lower()


def _checked(path: Path) -> bytes:
    """Read a file, and refuse an image that the service would refuse in every check."""
    try:
        content = path.read_bytes()
        decode(content, 128, "stretch")
    except (OSError, ImageError) as error:
        raise LabelledImagesError(f"{path} cannot be used. {error}") from error
    return content


def _fit(files: list[bytes], limit: int) -> list[bytes]:
    """Scale down the files that are larger than an equal share, no further than needed."""
    fitting, share = files, limit // len(files)
    for size in (None, *SIZES):
        if size:
            fitting = [file if len(file) <= share else min(file, _scaled(file, *size), key=len) for file in files]
        if sum(map(len, fitting)) <= limit:
            return fitting
    raise LabelledImagesError(f"{len(files)} images do not fit into a ConfigMap, which holds 1 MiB: ask for fewer.")


def _scaled(content: bytes, side: int, quality: int) -> bytes:
    image = decode_whole(content, least=2 * side)
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _key(code: str, image: Labelled, number: int, suffix: str) -> str:
    stem = image.path.stem.removeprefix(f"{image.label}{SEPARATOR}")
    stem = "".join(char if LEGAL.fullmatch(char) else "-" for char in stem)
    # The number separates names that these changes make equal.
    return f"{code}{SEPARATOR}{number:03d}-{stem[:KEY_LENGTH]}{suffix}"


def _names(labels: Iterable[str]) -> str:
    return ", ".join(sorted(labels)) or "nothing"


def main(arguments: list[str] | None = None) -> int:
    """Print the ConfigMap; return 2 if that is not possible."""
    parser = argparse.ArgumentParser(prog="python -m scripts.labelled_images", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="labelled images: a sub-folder per class")
    parser.add_argument("number", type=int, nargs="?", default=NUMBER, help=f"images in all ({NUMBER})")
    parser.add_argument("--bundle", type=Path, default=CHAMPION, help="bundle with the classes (models/champion)")
    options = parser.parse_args(arguments)
    try:
        classes = load(options.bundle).manifest.classes
        images = choose(options.folder, options.number, classes)
        made, scaled = config_map(images)
    except (BundleError, LabelledImagesError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    note = f", {scaled} of them scaled down" if scaled else ""
    sys.stderr.write(f"{len(images)} images, {len(images) // len(classes)} of each class{note}\n")
    # JSON is YAML too.
    sys.stdout.write(json.dumps(made, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

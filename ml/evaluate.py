"""Evaluate a bundle on a folder of images: ``python -m ml.evaluate``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bundle.files import BundleError
from bundle.load import load
from bundle.preprocess import ImageError
from ml.data import exclude
from ml.data.dataset import DataError
from ml.data.scan import collect
from ml.errors import UserError
from ml.evaluation.evaluation import evaluate
from ml.evaluation.metrics import metrics, summary


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate a bundle on a folder of images."""
    parser = argparse.ArgumentParser(prog="python -m ml.evaluate", description=main.__doc__)
    parser.add_argument("bundle", type=Path, help="folder with model.onnx and manifest.json")
    parser.add_argument("--data", type=Path, required=True, help="folder with one sub-folder of images per class")
    exclude.add_argument(parser)
    text = "part of the images, split as training splits them [%(default)s]"
    parser.add_argument("--split", choices=("all", "test", "validation", "train"), default="all", help=text)
    options = parser.parse_args(arguments)
    try:
        bundle = load(options.bundle)
        data = collect(options.data, options.exclude)
        if list(data.classes) != bundle.manifest.classes:
            raise DataError(
                f"{options.data} has the classes {', '.join(data.classes)}, "
                f"but the bundle has {', '.join(bundle.manifest.classes)}: name the sub-folders like these."
            )
        images = data.images if options.split == "all" else data.split(options.split)
        if not images and options.split == "all":
            raise DataError(f"{options.data} has no images that are not left out: `python -m ml.data scan` says why.")
        if not images:
            raise DataError(f"{options.data} has no images in its {options.split} split: choose --split all.")
        values = metrics(evaluate(bundle, images))
    except (UserError, BundleError, ImageError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    manifest = bundle.manifest
    part = "all images" if options.split == "all" else f"the {options.split} split"
    print(f"{manifest.name} {manifest.version} on {part} of {options.data} ({options.split}):\n{summary(values)}")
    if data.fingerprint == manifest.dataset.fingerprint and options.split in ("all", "train"):
        print("The bundle was trained on images of this data set: --split test measures those it has not seen.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Evaluate a bundle on a folder of images: ``python -m ml.evaluate``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bundle.files import BundleError
from bundle.load import load
from bundle.preprocess import ImageError
from ml.data import exclude, part
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
    part.add_argument(parser)
    options = parser.parse_args(arguments)
    try:
        bundle = load(options.bundle)
        data = collect(options.data, options.exclude)
        if list(data.classes) != bundle.manifest.classes:
            raise DataError(
                f"{options.data} has the classes {', '.join(data.classes)}, "
                f"but the bundle has {', '.join(bundle.manifest.classes)}: name the sub-folders like these."
            )
        values = metrics(evaluate(bundle, part.choose(data, options.split, options.data)))
    except (UserError, BundleError, ImageError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    manifest = bundle.manifest
    measured = "all images" if options.split == part.ALL else f"the {options.split} split"
    print(f"{manifest.name} {manifest.version} on {measured} of {options.data} ({options.split}):\n{summary(values)}")
    if data.fingerprint == manifest.dataset.fingerprint and options.split in (part.ALL, "train"):
        print("The bundle was trained on images of this data set: --split test measures those it has not seen.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

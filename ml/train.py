"""The command that goes from a folder of photos to a tracked, gated bundle."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from bundle.load import BundleError
from bundle.manifest import Precision
from bundle.preprocess import ImageError
from ml.data import exclude
from ml.errors import UserError
from ml.registry import model_registry as registry
from ml.tracking.tracker import DEFAULT_ADDRESS, connect
from ml.training import config as recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Train on a folder of pictures, log to MLflow, export a bundle and put it through the gate."""
    options = _parser().parse_args(arguments)
    try:
        # First, because it fails fast: an hour of training that cannot be logged is worse than a late start.
        client = connect(options.tracking_uri)
        # Only now: PyTorch takes seconds to import.
        from ml import pipeline

        return pipeline.run(client, options)
    except (UserError, BundleError, ImageError, OSError) as error:
        # One sentence for the person at the keyboard; anything else is a bug, and shows where it happened.
        print(f"\n{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped; nothing was exported. Where an epoch was done, --resume goes on from it.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ml.train", description=main.__doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with one sub-folder of pictures per class")
    exclude.add_argument(parser)
    folder = parser.add_mutually_exclusive_group()
    folder.add_argument("--out", type=Path, help="the run's folder [runs/<data set>-<time>]")
    folder.add_argument("--resume", type=Path, metavar="RUN", help="go on with the run in this folder")
    add("--champion", type=Path, help=f"folder of the served bundle, replaced if the gate opens [{registry.SERVED}]")
    add("--cache", type=Path, default=Path("runs/cache"), help="folder for decoded pictures [%(default)s]")
    add("--device", default="auto", choices=("auto", "cuda", "mps", "cpu"), help="where to compute [the best there is]")
    add("--tracking-uri", help=f"MLflow's address [MLFLOW_TRACKING_URI, else {DEFAULT_ADDRESS}]")
    add("--experiment", help="MLflow experiment [the data set's name]")
    group = parser.add_argument_group("bundle")
    add = group.add_argument
    text = "of the exported weights [%(default)s]"
    add("--precision", choices=get_args(Precision), default=recipe.PRECISION, help=text)
    text = "let the exported network look at each picture's mirror image as well, and answer the mean: twice the work"
    add("--mirrored", action="store_true", help=text)
    text = "side of the pictures that the exported network takes, pixels [as --size]"
    add("--serve-size", type=recipe.side_in_pixels, metavar="PIXELS", help=text)
    add("--acceptance", type=Path, metavar="FOLDER", help="photos as people send them, by class, to measure on too")
    text = "pictures that show none of the classes, to measure on too; may be given several times"
    add("--neither", type=Path, action="append", default=[], metavar="FOLDER", help=text)
    recipe.add_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Train, evaluate, log, export and gate a model: ``python -m ml.train``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from bundle.files import BundleError
from bundle.load import CHAMPION
from bundle.manifest import Precision
from bundle.preprocess import ImageError
from ml.data import exclude
from ml.errors import UserError
from ml.tracking.address import DEFAULT_ADDRESS
from ml.training import config


def main(arguments: Sequence[str] | None = None) -> int:
    """Train on a folder of images, log to MLflow, export a bundle and put it through the gate."""
    options = _parser().parse_args(arguments)
    try:
        if not options.data.exists():
            raise UserError(f"There is no folder {options.data}: give --data a folder of images for each class.")
        # After the parser, since mlflow and PyTorch take seconds to import.
        from ml import pipeline
        from ml.tracking.client import connect

        # Before anything slow: an hour of training that cannot be logged is worse than a refusal.
        return pipeline.run(connect(options.tracking_uri), options)
    except (UserError, BundleError, ImageError, OSError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"\nStopped. {interrupt}".rstrip(), file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ml.train", description=main.__doc__)
    add = parser.add_argument
    text = "folder with one sub-folder of images per class, zip archive of one, or CSV of files and labels"
    add("--data", type=Path, required=True, help=text)
    exclude.add_argument(parser)
    folder = parser.add_mutually_exclusive_group()
    folder.add_argument("--out", type=Path, help="the run's folder [runs/<data set>-<time>]")
    folder.add_argument("--resume", type=Path, metavar="RUN", help="continue the run in this folder")
    add("--champion", type=Path, help=f"folder of the served bundle, replaced if the gate opens [{CHAMPION}]")
    add("--cache", type=Path, default=Path("runs/cache"), help="folder of decoded images [%(default)s]")
    add("--device", default="auto", choices=("auto", "cuda", "mps", "cpu"), help="device [the best one]")
    add("--tracking-uri", help=f"MLflow's address [MLFLOW_TRACKING_URI, else {DEFAULT_ADDRESS}]")
    add("--experiment", help="MLflow experiment [the data set's name]")
    group = parser.add_argument_group("bundle")
    add = group.add_argument
    text = "precision of the exported weights [%(default)s]"
    add("--precision", choices=get_args(Precision), default=config.PRECISION, help=text)
    text = "side of the square that the exported network sees, pixels [as --size]"
    add("--serve-size", type=config.side_in_pixels, metavar="PIXELS", help=text)
    text = "also evaluate on these photos as people send them, by class, and on corrupted copies"
    add("--acceptance", type=Path, metavar="FOLDER", help=text)
    text = "also evaluate on these labelled images of other origin; may be repeated"
    add("--other-set", type=Path, action="append", default=[], metavar="FOLDER", help=text)
    text = "also evaluate on this out-of-distribution test set, images of none of the classes; may be repeated"
    names = ("--out-of-distribution", "--neither")
    add(*names, type=Path, action="append", default=[], metavar="FOLDER", help=text)
    config.add_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())

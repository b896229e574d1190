"""Check that a bundle can be served: ``python -m bundle.check [FOLDER]``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bundle.files import BundleError
from bundle.load import CHAMPION, load
from bundle.predictor import Predictor


def main(arguments: Sequence[str] | None = None) -> int:
    """Load a bundle and run its model once; exit code 1, with the reason in one sentence, if it cannot be served."""
    parser = argparse.ArgumentParser(prog="python -m bundle.check", description=main.__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=CHAMPION, help="of the bundle [%(default)s]")
    folder = parser.parse_args(arguments).folder
    try:
        predictor = Predictor(load(folder))
        predictor.warm_up()
    except BundleError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{folder} can be served: {predictor.manifest.name} {predictor.manifest.version}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

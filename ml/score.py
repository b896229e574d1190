"""The command that predicts every image of a folder: ``python -m ml.score FOLDER --out scores.csv``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from joblib import cpu_count

from bundle import load as bundle_folder
from bundle.files import BundleError
from bundle.load import CHAMPION
from bundle.predictor import Predictor
from ml.batch.csv_file import CsvFile
from ml.batch.predict_folder import predict_folder
from ml.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Classify every image below a folder as the service would; resume an interrupted run."""
    options = _parser().parse_args(arguments)
    try:
        if not options.folder.is_dir():
            raise UserError(f"There is no folder {options.folder}: give one that holds images.")
        bundle = bundle_folder.load(options.model)
        Predictor(bundle)
        with CsvFile(options.out, bundle.manifest, options.overwrite) as csv_file:
            predict_folder(options.folder, csv_file, bundle, options.processes)
    except (UserError, BundleError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nStopped. The same command resumes after the last row of {options.out}.", file=sys.stderr)
        return 130
    print(f"{options.out}: {csv_file.rows:,} rows, {csv_file.errors:,} of them files that could not be scored")
    return int(csv_file.errors > 0)


def _parser() -> argparse.ArgumentParser:
    codes = "Exit code: 0 all scored, 1 some files not scored (see the column error), 2 given up, 130 Ctrl-C."
    parser = argparse.ArgumentParser(prog="python -m ml.score", description=main.__doc__, epilog=codes)
    add = parser.add_argument
    add("folder", type=Path, help="searched with all folders in it")
    add("--out", type=Path, default=Path("scores.csv"), metavar="CSV", help="a row for each file [%(default)s]")
    add("--overwrite", action="store_true", help="begin anew instead of resuming the file")
    add("--model", type=Path, default=CHAMPION, metavar="BUNDLE", help="the model's folder [%(default)s]")
    add("--processes", type=_count, default=cpu_count(), metavar="N", help="[one per processor: %(default)s]")
    return parser


def _count(number: str) -> int:
    if not number.isdecimal() or not int(number):
        raise argparse.ArgumentTypeError(f"{number!r} is not a whole number from 1 up")
    return int(number)


if __name__ == "__main__":
    sys.exit(main())

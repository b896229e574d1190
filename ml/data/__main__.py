"""Scan, download and draw data sets: ``python -m ml.data``."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ml.data import exclude, report
from ml.data.dataset import DataError
from ml.data.download import CATS_AND_DOGS, download
from ml.data.report import printable
from ml.data.sample import sample
from ml.data.scan import collect
from ml.data.unpack import MAX_BYTES


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except DataError as error:
        sys.stderr.write(f"{printable(str(error))}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        return 128 + signal.SIGINT
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m ml.data", description="Get, draw and check folders of images.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("scan", help="check a data set, without changing it")
    text = "folder with one folder of images per class, zip archive of one, or CSV of files and labels"
    command.add_argument("folder", type=Path, metavar="DATA", help=text)
    exclude.add_argument(command)
    command.add_argument("--report", type=Path, metavar="CSV", help="write every file left out, and why")
    command.set_defaults(run=_scan)

    command = commands.add_parser("download", help="fetch and unpack an archive of images")
    command.add_argument("--to", type=Path, default=Path("data/cats-vs-dogs"), help="folder to make (%(default)s)")
    command.add_argument("--url", default=CATS_AND_DOGS, help="https:, http: or file: address of a zip (Cats vs Dogs)")
    command.add_argument("--sha256", type=_hash, metavar="HEX", help="refuse an archive with another hash")
    command.add_argument(
        "--max-bytes", type=int, default=MAX_BYTES, help="refuse an archive that unpacks to more (%(default)s)"
    )
    command.set_defaults(run=_download)

    command = commands.add_parser("sample", help="draw a small set of circles and squares")
    command.add_argument("--to", type=Path, required=True, help="folder to make")
    command.add_argument("--pictures", type=_count, default=600, help="over both classes (%(default)s)")
    command.add_argument("--seed", type=_count, default=0, help="the same seed draws the same bytes (%(default)s)")
    command.set_defaults(run=_sample)
    return parser


def _hash(text: str) -> str:
    if len(text) != 64 or set(text.lower()) - set("0123456789abcdef"):
        raise argparse.ArgumentTypeError("a SHA-256 has 64 hexadecimal digits")
    return text.lower()


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def _scan(options: argparse.Namespace) -> None:
    dataset = collect(options.folder, options.exclude)
    if options.report:
        report.write(options.report, dataset.problems)
    tqdm.write(report.describe(dataset, "--report FILE lists them all"))
    dataset.require_images()


def _download(options: argparse.Namespace) -> None:
    result = download(options.url, options.to, options.sha256, options.max_bytes)
    tqdm.write(f"{options.to}{' was there already' if result.was_there else ''}\nSHA-256 {result.sha256}")
    if result.damaged:
        names = ", ".join(map(printable, result.damaged[: report.SHOWN_PROBLEMS]))
        tqdm.write(f"{len(result.damaged)} damaged in the archive and left out: {names}")


def _sample(options: argparse.Namespace) -> None:
    sample(options.to, options.pictures, options.seed)
    tqdm.write(str(options.to))


if __name__ == "__main__":
    sys.exit(main())

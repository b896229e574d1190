"""Compare bundles by latency, size and accuracy: ``python -m benchmarks.studies.bundles FOLDER…``."""

import argparse
import timeit
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks import photos
from benchmarks.report import table
from benchmarks.servers.classifier import Classifier
from bundle.preprocess import decode

REPEATS = 100
COLUMNS = ("network", "input", "weights", "accuracy", "decode, ms", "total, ms", "MB")


def milliseconds(function: Callable[[], object]) -> str:
    """Measure the median duration of a call."""
    return f"{1000 * median(timeit.repeat(function, number=1, repeat=REPEATS)):.1f}"


def row(folder: Path, image: bytes) -> list[object]:
    """Measure a bundle and return its row of the table; the accuracy is the manifest's."""
    classifier = Classifier(folder)
    manifest = classifier.manifest
    shape, accuracy = manifest.input, f"{manifest.metrics.accuracy:.2%}" if manifest.metrics else ""
    name = manifest.training.architecture
    decoding = milliseconds(lambda: decode(image, shape.size, shape.resize))
    total = milliseconds(lambda: classifier.probabilities(image))
    megabytes = f"{(folder / 'model.onnx').stat().st_size / 1e6:.1f}"
    return [name, shape.size, manifest.precision, accuracy, decoding, total, megabytes]


def main() -> None:
    """Print a Markdown table with a row for each bundle."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.bundles", description=main.__doc__)
    parser.add_argument("bundles", type=Path, nargs="+", metavar="FOLDER", help="such as models/champion")
    image = photos.draw()
    print(f"One JPEG of {photos.SIZE[0]} × {photos.SIZE[1]} pixels and {len(image):,} bytes, one thread.\n")
    print(table(COLUMNS, [row(folder, image) for folder in parser.parse_args().bundles]))


if __name__ == "__main__":
    main()

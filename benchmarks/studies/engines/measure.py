"""Measure one engine: ``python -m benchmarks.studies.engines.measure PACKAGE BUNDLE PIXELS SECONDS BATCH…``.

Runs with the engine's interpreter and prints a JSON object.
"""

import json
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.engines.engines import ENGINES, Predict


def measure(predict: Predict, pixels: NDArray[np.uint8], batch: int, seconds: float) -> float:
    """Measure the median milliseconds for one image, in batches of all images in turn, after one pass as warm-up."""
    batches = list(split(pixels, batch))
    for one in batches:
        predict(one)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        predict(batches[len(times) % len(batches)])
        times.append(time.perf_counter() - start)
    return 1000 * median(times) / batch


def split(pixels: NDArray[np.uint8], batch: int) -> Iterator[NDArray[np.uint8]]:
    """Split images into full batches; the last one is filled up from the beginning."""
    for start in range(0, len(pixels), batch):
        yield np.take(pixels, range(start, start + batch), axis=0, mode="wrap")


def main() -> None:
    """Print version, milliseconds for one image by size of the batch, and probabilities."""
    package, bundle, file, seconds, *batches = sys.argv[1:]
    (engine,) = (engine for engine in ENGINES if engine.package == package)
    pixels = np.load(file)
    predict = engine.load(Path(bundle))
    milliseconds = {batch: measure(predict, pixels, int(batch), float(seconds)) for batch in batches}
    probabilities = np.concatenate([predict(one) for one in split(pixels, 1)])
    found = {"version": version(package), "milliseconds": milliseconds, "probabilities": probabilities.tolist()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()

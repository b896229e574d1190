"""Accuracy, milliseconds and megabytes by network, input size and precision: ``python -m benchmarks.serving``.

The times are for one photo on one thread: decode, resize, and run. Give ``--run`` for networks that were trained (a
run's folder, as ``ml.train`` leaves it); networks that were not have times and sizes, but no accuracy.
"""

import argparse
import io
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from bundle import manifest as bundles
from bundle.load import Bundle, load
from bundle.manifest import Precision
from bundle.predictor import Predictor
from bundle.preprocess import decode
from ml.data import exclude
from ml.data.dataset import Dataset, LabelledImage
from ml.data.scan import collect
from ml.export.graph import ServingModel, export
from ml.model.architectures import build, normalise
from ml.model.catalog import ARCHITECTURES, LITE, SLIM
from ml.training import checkpoint
from ml.training.config import TrainingConfig
from ml.training.epoch import EVALUATION_BATCH
from ml.training.temperature_scaling import fit_temperature

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
CALIBRATION_PICTURES = 256
REPEATS = 100
PHOTO = (450, 374)  # pixels


def photo() -> bytes:
    """A JPEG of a usual size and about the usual number of bytes."""
    coarse = np.random.default_rng(0).integers(0, 256, (47, 57, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize(PHOTO, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def milliseconds(bundle: Bundle, data: bytes) -> tuple[float, float]:
    """Medians of decoding with resizing, and of the whole way to an answer."""
    predictor, shape = Predictor(bundle), bundle.manifest.input
    decoding, whole = [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        pixels = decode(data, shape.size, shape.resize)[np.newaxis]
        decoded = time.perf_counter()
        predictor.predict(pixels)
        decoding.append(decoded - start)
        whole.append(time.perf_counter() - start)
    return 1000 * statistics.median(decoding), 1000 * statistics.median(whole)


def squares(pictures: Sequence[LabelledImage], size: int, recipe: TrainingConfig) -> NDArray[np.uint8]:
    """Decoded as the service does, shape ``(n, size, size, 3)``."""
    return np.stack([decode(p.path.read_bytes(), size, recipe.resize) for p in pictures])


@torch.inference_mode()
def temperature(network: nn.Module, pixels: NDArray[np.uint8], labels: torch.Tensor) -> float:
    """The best one on validation pictures."""
    starts = range(0, len(pixels), EVALUATION_BATCH)
    batches = [network(normalise(torch.from_numpy(pixels[i : i + EVALUATION_BATCH]))) for i in starts]
    return fit_temperature(torch.cat(batches), labels)


def bundle_of(served: ServingModel, recipe: TrainingConfig, precision: Precision, pixels: NDArray[np.uint8]) -> Bundle:
    """Export in a precision, to measure and throw away."""
    training = bundles.Training(
        run_id=None, git_commit=None, architecture=recipe.architecture, initial_weights="", epochs=0, seed=0
    )
    data = bundles.Dataset(name="", source=None, synthetic=False, fingerprint="", counts={}, left_out={})
    return export(served, ["0", "1"], recipe.resize, "", training, data, pixels, precision)


def accuracy(bundle: Bundle, pixels: NDArray[np.uint8], pictures: Sequence[LabelledImage]) -> float:
    """The share of right answers."""
    predictor = Predictor(bundle)
    starts = range(0, len(pixels), EVALUATION_BATCH)
    answers = np.concatenate([predictor.predict(pixels[i : i + EVALUATION_BATCH]) for i in starts])
    return float((answers.argmax(1) == [p.label for p in pictures]).mean())


def row(name: str, size: int, bundle: Bundle, right: str, data: bytes) -> str:
    """A line of the table."""
    decoding, whole = milliseconds(bundle, data)
    megabytes = len(bundle.model) / 1e6
    precision = bundle.manifest.precision
    return f"| {name} | {size} | {precision} | {right} | {decoding:.1f} | {whole:.1f} | {megabytes:.1f} |"


def trained(run: Path, sizes: Sequence[int], data: Dataset, jpeg: bytes) -> None:
    """Print the lines of a trained network."""
    state = checkpoint.read(run / checkpoint.CHECKPOINT)
    recipe = TrainingConfig(**state["recipe"])
    network = build(recipe.architecture, len(data.classes))
    network.load_state_dict(state["best"])
    network.eval()
    validation, test = data.split("validation"), data.split("test")
    labels = torch.tensor([p.label for p in validation])
    for size in sizes:
        seen, held_out = squares(validation, size, recipe), squares(test, size, recipe)
        served = ServingModel(network, size, temperature(network, seen, labels))
        some = seen[:: max(1, len(seen) // CALIBRATION_PICTURES)][:CALIBRATION_PICTURES]
        for precision in PRECISIONS:
            bundle = bundle_of(served, recipe, precision, some)
            right = f"{accuracy(bundle, seen, validation):.2%} / {accuracy(bundle, held_out, test):.2%}"
            print(row(recipe.architecture, size, bundle, right, jpeg), flush=True)


def untrained(architecture: str, size: int, jpeg: bytes) -> None:
    """Print the line of a network that has learned nothing: its time does not depend on that."""
    recipe = TrainingConfig(architecture=architecture)
    noise = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    served = ServingModel(build(architecture, 2).eval(), size)
    print(row(architecture, size, bundle_of(served, recipe, "fp32", noise), "", jpeg), flush=True)


def shipped(folder: Path, jpeg: bytes) -> None:
    """Print the line of a bundle, with the accuracy that its manifest names."""
    bundle = load(folder)
    manifest = bundle.manifest
    name = manifest.training.architecture + (", mirrored" if manifest.mirrored else "")
    right = f"{manifest.metrics.accuracy:.2%} (test)" if manifest.metrics else ""
    print(row(name, manifest.input.size, bundle, right, jpeg), flush=True)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=main.__doc__)
    add = parser.add_argument
    add("--run", type=Path, action="append", default=[], metavar="FOLDER", help="a trained network; may be repeated")
    add("--bundle", type=Path, action="append", default=[], metavar="FOLDER", help="to time; may be repeated")
    add("--sizes", nargs="+", type=int, default=[112, 128, 144, 160], help="at which to try them, pixels")
    add("--data", type=Path, help="pictures to measure the trained networks on")
    add("--also", nargs="*", default=[SLIM, LITE], choices=ARCHITECTURES, metavar="NAME", help="untrained, at 128 px")
    exclude.add_argument(parser)
    options = parser.parse_args()
    if options.run and not options.data:
        parser.error("--run needs --data")
    torch.set_num_threads(1)
    jpeg = photo()
    print(f"One JPEG of {PHOTO[0]} × {PHOTO[1]} pixels and {len(jpeg):,} bytes, one thread.\n")
    print("| network | input | weights | right (validation / test) | decode, ms | in all, ms | MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    untrained("mobilenet_v3_small", 224, jpeg)
    for architecture in options.also:
        untrained(architecture, 128, jpeg)
    for folder in options.bundle:
        shipped(folder, jpeg)
    if options.run:
        data = collect(options.data, options.exclude)
        for run in options.run:
            trained(run, options.sizes, data, jpeg)


if __name__ == "__main__":
    main()

"""How fast batches are made and how fast a network learns from them, side by side: ``python -m benchmarks.training``.

The pictures are noise: neither decoding, which is done once before a training, nor learning depends on what they show.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ml.model.architectures import build
from ml.model.catalog import ARCHITECTURES, LITE, SLIM
from ml.pipeline import CACHE_MARGIN
from ml.training.config import TrainingConfig
from ml.training.device import choose_device, describe_machine
from ml.training.epoch import TrainingState
from ml.training.loader import Pixels, training_batches

AUGMENTED = TrainingConfig(size=128, rotation=15, degrade=0.2, grey=0.05, erase=0.2, mix=0.5)


def noise(pictures: int, side: int, folder: Path) -> Pixels:
    """Pictures as a training finds them in its cache: in a memory-mapped file."""
    data = object.__new__(Pixels)
    path = folder / f"{side}.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (pictures, side, side, 3), np.uint8))
    data.pixels = np.load(path, mmap_mode="r")
    data.labels = torch.arange(pictures) % 2
    return data


def measure(architecture: str, side: int, pictures: int, device: torch.device, folder: Path) -> tuple[float, float]:
    """Give images per second of the loader and of the step, each alone."""
    recipe = replace(AUGMENTED, architecture=architecture, train_size=side, batch=64)
    data = noise(pictures, round(recipe.size * CACHE_MARGIN), folder)
    start = time.perf_counter()
    batches = list(training_batches(data, recipe, side, torch.Generator().manual_seed(0), device))
    loading = time.perf_counter() - start
    loop = TrainingState(build(architecture, 2), data, data, recipe, device)
    loop.network.train()
    loop._step(*batches[0])  # the first one plans its memory
    start = time.perf_counter()
    losses = [loop._step(*loop._mixed(*batch))[0] for batch in batches]
    losses[-1].item()  # waits for the device
    stepping = time.perf_counter() - start
    seen = len(batches) * recipe.batch
    return seen / loading, seen / stepping


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=main.__doc__)
    add = parser.add_argument
    add("--architectures", nargs="+", default=[SLIM, LITE], choices=ARCHITECTURES, metavar="NAME")
    add("--sides", nargs="+", type=int, default=[64, 96, 128], help="of the crops, pixels")
    add("--pictures", type=int, default=640, help="per measurement [%(default)s]")
    add("--device", default="auto", choices=("auto", "cuda", "mps", "cpu"))
    options = parser.parse_args()
    device = choose_device(options.device)
    print(f"{describe_machine(device)}\n\n| network | side | loader, images/s | step, images/s |")
    print("| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for architecture in options.architectures:
            for side in options.sides:
                loader, step = measure(architecture, side, options.pictures, device, Path(folder))
                print(f"| {architecture} | {side} | {loader:,.0f} | {step:,.0f} |", flush=True)


if __name__ == "__main__":
    main()

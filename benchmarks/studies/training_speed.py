"""Measure the speed of fine-tuning: ``python -m benchmarks.studies.training_speed``."""

import argparse
import tempfile
from pathlib import Path

import torch

from benchmarks import machine
from benchmarks.report import spread, table
from ml.data.dataset import Dataset
from ml.data.sample import sample
from ml.data.scan import scan
from ml.pipeline import decode
from ml.training.config import TrainingConfig
from ml.training.device import DEVICES, choose_device, use_free_processors
from ml.training.epoch import run_epoch
from ml.training.state import Epoch, TrainingState
from ml.training_run import build_network

# Sides of the crops in pixels, and numbers of frozen stages.
SETTINGS = ((224, 0), (192, 0), (160, 0), (160, 5))
COLUMNS = ("crops, pixels", "frozen stages", "loader, images/s", "steps, images/s", "both, images/s")


def second_epoch(dataset: Dataset, config: TrainingConfig, device: torch.device, cache: Path) -> Epoch:
    """Fine-tune for an epoch that warms up, and for another one; return the latter."""
    state = TrainingState(build_network(config, dataset), *decode(dataset, config, cache), config, device)
    for _ in range(2):
        run_epoch(state)
    return state.history[-1]


def measure(dataset: Dataset, configs: list[TrainingConfig], rounds: int, device: torch.device, cache: Path) -> str:
    """Measure every config once per round, and format the medians as a Markdown table."""
    found = [[second_epoch(dataset, config, device, cache) for config in configs] for _ in range(rounds)]
    rows = [
        (
            config.train_size,
            config.frozen,
            spread(epoch.loader_images_per_second for epoch in epochs),
            spread(epoch.step_images_per_second for epoch in epochs),
            spread(epoch.images_per_second for epoch in epochs),
        )
        for config, epochs in zip(configs, zip(*found, strict=True), strict=True)
    ]
    return table(COLUMNS, rows)


def main() -> None:
    """Print a Markdown table of the loader's and the steps' speed on drawn images, by side and frozen stages."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.training_speed", description=main.__doc__)
    parser.add_argument("--images", type=int, default=400, metavar="N", help="drawn images [%(default)s]")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="[%(default)s]")
    parser.add_argument("--device", default="auto", choices=("auto", *DEVICES), help="[%(default)s]")
    options = parser.parse_args()
    where, device = machine.describe(), choose_device(options.device)
    use_free_processors(device)
    configs = [TrainingConfig(train_size=side, frozen=frozen, epochs=2) for side, frozen in SETTINGS]
    with tempfile.TemporaryDirectory() as folder:
        sample(Path(folder) / "images", options.images)
        dataset = scan(Path(folder) / "images")
        rows = measure(dataset, configs, options.rounds, device, Path(folder))
    print(
        f"\n{where}. {configs[0].architecture} on {device}, {torch.get_num_threads()} threads, batches of "
        f"{configs[0].batch}; medians of {options.rounds} interleaved rounds, the smallest and the largest in "
        f"brackets. The loader and the steps share the processors.\n\n{rows}"
    )


if __name__ == "__main__":
    main()

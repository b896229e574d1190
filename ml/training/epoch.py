"""Train for one epoch and validate."""

import math
import time
from collections.abc import Callable
from datetime import timedelta

import torch
from tqdm import tqdm

from ml.training import distributed
from ml.training.loader import Prefetcher, training_batches
from ml.training.state import Epoch, TrainingError, TrainingState


def run_epoch(state: TrainingState, stop_requested: Callable[[], bool] = lambda: False) -> Epoch | None:
    """Train for one epoch, validate, and add the epoch to the state; None if ``stop_requested`` before a step.

    Raises:
        TrainingError: The loss is not a number.
    """
    config, device, processes = state.config, state.device, distributed.world_size()
    # The seed depends on the epoch alone: a resumed run draws the same numbers as an uninterrupted one.
    seed = config.seed * 1_000_003 + state.epoch
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    side = config.side(state.epoch)
    share = distributed.rank(), processes
    batches = Prefetcher(
        training_batches(state.training, config, side, generator, device, *share, state.loader_threads)
    )
    state.network.train()
    loss_sum, correct = torch.zeros((), device=device), torch.zeros((), device=device)
    seen = 0
    title = f"epoch {state.epoch + 1:>3}/{config.epochs}{_time_left(state)}"
    hidden = not distributed.is_main_process()
    with tqdm(total=len(state.training), desc=title, unit=" images", disable=hidden) as bar:
        start = time.perf_counter()
        for step, (images, labels) in enumerate(batches, 1):
            if _any_process(stop_requested(), device):
                return None
            loss, hits = state.train_step(images, labels)
            loss_sum += loss * len(labels)
            correct += hits
            seen += len(labels)
            bar.update(len(labels) * processes)
            if step % 10 == 0:  # reading a value waits for the device
                bar.set_postfix(loss=f"{loss_sum.item() / seen:.3f}", accuracy=f"{correct.item() / seen:.1%}")
        seen = len(state.training)  # the processes' shares of a batch may differ by an image
        train_loss = distributed.sum_over_processes(loss_sum).item() / seen
        train_accuracy = distributed.sum_over_processes(correct).item() / seen
        seconds = time.perf_counter() - start
        speeds = [seen / max(spent, 1e-9) for spent in (seconds, batches.busy, seconds - batches.waited)]
        validation_loss, validation_accuracy = state.validate()
        if not math.isfinite(train_loss + validation_loss):
            raise TrainingError(
                f"The loss is not a number in epoch {state.epoch + 1}: lower --learning-rate "
                f"(it is {config.learning_rate:g})."
            )
        bar.set_postfix(
            loss=f"{train_loss:.3f}",
            accuracy=f"{train_accuracy:.1%}",
            validation=f"{validation_accuracy:.1%}",
            side=side,
            loader=f"{speeds[1]:.0f} images/s",
            step=f"{speeds[2]:.0f} images/s",
        )
    learning_rate = float(state.schedule.get_last_lr()[0])
    losses = train_loss, train_accuracy, validation_loss, validation_accuracy
    epoch = Epoch(state.epoch + 1, *losses, speeds[0], learning_rate, side, *speeds[1:])
    state.complete(epoch)
    return epoch


def _time_left(state: TrainingState) -> str:
    """Estimate the time of all remaining epochs from the last one; empty in the first epoch."""
    if not state.history:
        return ""
    images = (state.config.epochs - state.epoch) * len(state.training)
    return f", {timedelta(seconds=round(images / state.history[-1].images_per_second))} left in all"


def _any_process(value: bool, device: torch.device) -> bool:
    """Tell whether the value is true in any process, so that all stop at the same step."""
    if distributed.world_size() == 1:
        return value
    return bool(distributed.sum_over_processes(torch.tensor(float(value), device=device)))

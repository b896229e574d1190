"""Train a network: epochs with checkpoints, early stopping and a graceful end on Ctrl-C."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ml.model.names import SCRATCH
from ml.training import distributed
from ml.training.checkpoint import CHECKPOINT
from ml.training.config import TrainingConfig
from ml.training.epoch import run_epoch
from ml.training.head import HeadResult
from ml.training.loader import Pixels
from ml.training.state import Epoch, TrainingState


@dataclass
class TrainingResult:
    """The result of a training run.

    Attributes:
        history: All epochs, in order; empty if the head alone was trained.
        best: The network's weights with the lowest validation loss.
        best_epoch: Their epoch; 0 for the weights before the first.
        ending: Why there is no further epoch.
        hours: Time of the epochs, validation excluded.
        head: The head that was trained last, on the backbone's features; None from scratch.
    """

    history: list[Epoch]
    best: dict[str, Tensor]
    best_epoch: int
    ending: str
    hours: float
    head: HeadResult | None = None


def fit(
    network: nn.Module,
    training: Pixels,
    validation: Pixels,
    config: TrainingConfig,
    device: torch.device,
    folder: Path,
    resume: bool = False,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> TrainingResult:
    """Train a network and return its best weights by validation loss; weights that were trained before compete.

    The optimiser is AdamW on a one-cycle schedule (Smith & Topin 2019). An exponential moving average of the weights
    is validated and kept. Each epoch ends with a checkpoint in ``folder/checkpoint.pt``. Ctrl-C ends the training
    after the current step with the best weights so far. Several processes (see ``ml.training.distributed``) share each
    batch and average their gradients; only the main process writes and reports.

    Args:
        network: Takes ``(n, 3, size, size)``, returns logits ``(n, classes)``.
        training: Training images, decoded at a side of at least ``config.train_size``.
        validation: Validation images, decoded at ``config.size``.
        config: The settings.
        device: The device to train on.
        folder: Holds the checkpoint.
        resume: Continue from that checkpoint.
        on_epoch: Called after each epoch of this call.

    Raises:
        CheckpointError: The checkpoint to resume from is missing, damaged or has another config.
        TrainingError: The loss is not a number, or the batch cannot be shared among the processes.
        KeyboardInterrupt: Ctrl-C before the first epoch was complete.
    """
    state = TrainingState(network, training, validation, config, device)
    if resume:
        state.restore(folder / CHECKPOINT)
    elif config.weights != SCRATCH:
        # In every process, because each of them decides when to stop.
        state.keep_if_best(state.validate()[0])
    with contextlib.suppress(KeyboardInterrupt), _deferred_ctrl_c() as stop_requested:
        while not state.ending():
            epoch = run_epoch(state, stop_requested)
            if epoch is None:
                break
            if distributed.is_main_process():
                state.save(folder / CHECKPOINT)
                on_epoch(epoch)
    if not state.history:
        raise KeyboardInterrupt
    hours = sum(len(state.training) / epoch.images_per_second for epoch in state.history) / 3600
    return TrainingResult(state.history, state.best, state.best_epoch, state.ending() or "stopped by Ctrl-C", hours)


@contextlib.contextmanager
def _deferred_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Record the first Ctrl-C instead of interrupting; a second one interrupts at once."""
    received = []

    def record(number: int, _: object) -> None:
        received.append(number)
        signal.signal(signal.SIGINT, before)
        print(
            "\nStopping after this step; then the best weights are exported and evaluated. Ctrl-C again stops at once."
        )

    before = signal.signal(signal.SIGINT, record)
    try:
        yield lambda: bool(received)
    finally:
        signal.signal(signal.SIGINT, before)

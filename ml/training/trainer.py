"""Training from start to end: epochs with checkpoints, early stopping and a clean end on Ctrl-C."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ml.training import distributed
from ml.training.checkpoint import CHECKPOINT
from ml.training.config import TrainingConfig
from ml.training.epoch import Epoch, TrainingState
from ml.training.loader import Pixels


@dataclass
class TrainingResult:
    """How a training run ended; ``hours`` are those of its epochs, validation left out."""

    history: list[Epoch]
    best: dict[str, Tensor]
    best_epoch: int
    ending: str
    hours: float


def fit(
    network: nn.Module,
    training: Pixels,
    validation: Pixels,
    recipe: TrainingConfig,
    device: torch.device,
    folder: Path,
    resume: bool = False,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> TrainingResult:
    """Train a network and give its best weights by validation loss.

    The optimiser is AdamW on a one-cycle schedule (Smith & Topin 2019); what is validated and kept is an
    exponential moving average of the weights. After every epoch all that is needed to go on is written to
    ``folder/checkpoint.pt``. Ctrl-C ends the training after the current step with the best weights so far. Where
    several processes train together (see ``ml.training.distributed``), each learns from its part of every batch and the
    gradients are averaged; only the first writes and reports.

    Args:
        network: Takes ``(n, 3, size, size)``, gives logits ``(n, classes)``.
        training: Pictures to learn from, decoded at a side of at least ``recipe.train_size``.
        validation: Pictures to choose by, decoded at ``recipe.size``.
        recipe: Settings.
        device: Where to compute.
        folder: The run's folder.
        resume: Go on from the folder's checkpoint.
        on_epoch: Called after each epoch, the repeated ones of a resumed run left out.

    Raises:
        CheckpointError: The checkpoint to resume from is missing, unreadable or of another recipe.
        TrainingError: The loss is not a number, or the batch cannot be shared among the processes.
        KeyboardInterrupt: Ctrl-C before the first epoch was done.
    """
    loop = TrainingState(network, training, validation, recipe, device)
    if resume:
        loop.restore(folder / CHECKPOINT)
    with contextlib.suppress(KeyboardInterrupt), _ctrl_c_as_wish() as loop.stop_wished:
        while not loop.ending():
            done = loop.run_epoch()
            if done is None:
                break
            if distributed.is_first():
                loop.save(folder / CHECKPOINT)
                on_epoch(done)
    if not loop.history:
        raise KeyboardInterrupt
    hours = sum(loop.pictures / epoch.images_per_second for epoch in loop.history) / 3600
    return TrainingResult(loop.history, loop.best, loop.best_epoch, loop.ending() or "stopped by Ctrl-C", hours)


@contextlib.contextmanager
def _ctrl_c_as_wish() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C be asked for, so that nothing is cut in half; a second one interrupts at once."""
    wishes = []

    def remember(number: int, _: object) -> None:
        wishes.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: bool(wishes)
    finally:
        signal.signal(signal.SIGINT, before)

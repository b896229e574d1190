"""Hold the state of a training run: network, averaged weights, optimiser, schedule and history."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch's own documentation uses
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ml.errors import UserError
from ml.model.classifier import stages
from ml.training import checkpoint, distributed
from ml.training.augmentation import mixing
from ml.training.config import TrainingConfig
from ml.training.device import loader_threads, mixed_precision
from ml.training.loader import Pixels, plain_batches, steps_per_epoch
from ml.training.temperature_scaling import fit_temperature

MAX_GRADIENT_NORM = 5.0
Tensors = list[Tensor] | tuple[Tensor, ...]
# The parts of the state that are saved as they are, and the parts that save themselves.
PLAIN = ("epoch", "best", "best_epoch", "best_loss")
STATEFUL = ("network", "average", "optimizer", "schedule", "scaler")


@dataclass(frozen=True)
class Epoch:
    """One line of a run's history.

    Losses are in nats (validation: at the best temperature), accuracies from 0 to 1. The three speeds are of the whole
    epoch, of the loader thread and of the training steps alone. ``side`` is the side of the crops in pixels.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    images_per_second: float
    learning_rate: float
    side: int = 0
    loader_images_per_second: float = 0
    step_images_per_second: float = 0

    def by_group(self) -> dict[str, float]:
        """Name the metrics for MLflow, whose page groups them by what stands before a slash; the losses come first."""
        return {
            "train/loss": self.train_loss,
            "validation/loss": self.validation_loss,
            "train/accuracy": self.train_accuracy,
            "validation/accuracy": self.validation_accuracy,
            "train/learning_rate": self.learning_rate,
            "train/side": self.side,
            "speed/images_per_second": self.images_per_second,
            "speed/loader_images_per_second": self.loader_images_per_second,
            "speed/step_images_per_second": self.step_images_per_second,
        }


class TrainingError(UserError):
    """Raised when training cannot continue."""


def parameter_groups(network: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """Group the trained parameters by stage, with learning rates that fall from the head down to the first stage.

    Discriminative learning rates are from Howard & Ruder 2018, "Universal Language Model Fine-tuning for Text
    Classification": early stages hold what most images share. Parameters of frozen stages are in no group.
    """
    groups = []
    for below_head, parameters in enumerate(reversed(stages(network))):
        rate = config.learning_rate * config.layer_decay**below_head
        # Decaying biases and the scales of normalisation layers only hurts (He et al. 2019).
        for decay, chosen in ((config.weight_decay, lambda p: p.ndim > 1), (0.0, lambda p: p.ndim <= 1)):
            if some := [parameter for parameter in parameters if parameter.requires_grad and chosen(parameter)]:
                groups.append({"params": some, "lr": rate, "weight_decay": decay})
    return groups


class TrainingState:
    """The state of a training run, as a checkpoint holds it."""

    def __init__(
        self, network: nn.Module, training: Pixels, validation: Pixels, config: TrainingConfig, device: torch.device
    ) -> None:
        processes = distributed.world_size()
        if config.batch % processes:
            raise TrainingError(
                f"A batch of {config.batch} cannot be shared by {processes} processes: choose a multiple with --batch."
            )
        self.config, self.device = config, device
        self.training, self.validation = training, validation
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.parallel = self.network if processes == 1 else DistributedDataParallel(self.network)
        self.average = AveragedModel(self.network, multi_avg_fn=self._moving_average, use_buffers=True)
        groups = parameter_groups(network, config)
        self.optimizer = torch.optim.AdamW(groups, fused=True)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            [group["lr"] for group in groups],
            total_steps=config.epochs * steps_per_epoch(len(training), config.batch, processes),
            pct_start=0.2,
        )
        self.precision = mixed_precision(device)
        self.loader_threads = loader_threads(device, processes)
        self.mixing = mixing(int(training.labels.max()) + 1)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision is torch.float16)
        self.epoch = 0
        self.history: list[Epoch] = []
        self.best: dict[str, Tensor] = {}
        self.best_epoch = 0
        self.best_loss = math.inf

    def ending(self) -> str | None:
        """Explain why there is no further epoch; None if there is one."""
        if self.epoch - self.best_epoch >= self.config.patience:
            return f"no lower validation loss for {self.config.patience} epochs"
        return "all epochs done" if self.epoch >= self.config.epochs else None

    def train_step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Take one optimiser step, on mixed images where the config says so.

        Returns:
            The mean loss and the number of correct predictions, on the device.
        """
        if self.config.mixes(self.epoch) and torch.rand(()).item() < self.config.mix:
            images, labels = self.mixing(images, labels)
        with self._autocast():
            logits = self.parallel(images)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.config.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss * self._weight(len(labels))).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), MAX_GRADIENT_NORM)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.average.update_parameters(self.network)
        return loss.detach(), (logits.argmax(1) == (labels if labels.ndim == 1 else labels.argmax(1))).sum()

    def validate(self) -> tuple[float, float]:
        """Compute the loss and accuracy of the averaged weights on the validation images.

        The main process does, and tells the others.
        """
        measured = self._validate() if distributed.is_main_process() else (0.0, 0.0)
        return distributed.broadcast_from_main(measured)

    @torch.inference_mode()
    def _validate(self) -> tuple[float, float]:
        self.average.eval()
        batches = []
        for images, _ in plain_batches(self.validation, self.device):
            with self._autocast():
                batches.append(self.average(images).float().cpu())
        logits, labels = torch.cat(batches), self.validation.labels
        # At the best temperature, as served. Augmentation and label smoothing lower the confidence, and the plain loss
        # would prefer a worse network for being bolder.
        loss = F.cross_entropy(logits / fit_temperature(logits, labels), labels)
        return loss.item(), (logits.argmax(1) == labels).float().mean().item()

    def complete(self, epoch: Epoch) -> None:
        """Append an epoch to the history, and keep its averaged weights if they are the best so far."""
        self.epoch = epoch.epoch
        self.keep_if_best(epoch.validation_loss)
        self.history.append(epoch)

    def keep_if_best(self, validation_loss: float) -> None:
        """Keep the averaged weights if their validation loss is the lowest so far."""
        if validation_loss < self.best_loss:
            self.best_epoch, self.best_loss = self.epoch, validation_loss
            self.best = {k: v.detach().cpu().clone() for k, v in self.average.module.state_dict().items()}

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        state: dict[str, Any] = {name: getattr(self, name) for name in PLAIN}
        state["history"] = [asdict(epoch) for epoch in self.history]
        state |= {name: getattr(self, name).state_dict() for name in STATEFUL}
        checkpoint.write(path, self.config, state)

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            CheckpointError: It is missing, damaged or has another config.
        """
        earlier, state = checkpoint.read(path)
        checkpoint.require_same(path, earlier, self.config)
        for name in PLAIN:
            setattr(self, name, state[name])
        self.history = [Epoch(**epoch) for epoch in state["history"]]
        for name in STATEFUL:
            getattr(self, name).load_state_dict(state[name])

    def _moving_average(self, averages: Tensors, current: Tensors, _: Tensor | int) -> None:
        # A short average at first: a fixed decay would keep the random initial weights for many steps. The steps are
        # counted here, since reading PyTorch's own counter would wait for the device.
        steps = self.schedule.last_epoch - 1
        get_ema_multi_avg_fn(min(self.config.ema, (1 + steps) / (10 + steps)))(averages, current, steps)

    def _weight(self, images: int) -> float:
        """Weigh this process's share of a batch: the average of the gradients takes all shares for equally large."""
        processes = distributed.world_size()
        if processes == 1:
            return 1.0
        total = distributed.sum_over_processes(torch.tensor(float(images), device=self.device))
        return images * processes / total.item()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.precision, enabled=self.precision is not None)

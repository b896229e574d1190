"""One epoch after another: steps, validation, and the state that a checkpoint holds."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch's own documentation uses
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from ml.errors import UserError
from ml.training import checkpoint, distributed
from ml.training.augmentation import mixing
from ml.training.config import TrainingConfig
from ml.training.device import mixed_precision
from ml.training.loader import Ahead, Pixels, plain_batches, training_batches
from ml.training.temperature_scaling import fit_temperature

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Epoch:
    """One line of a run's history.

    Losses are in nats (validation: at the best temperature), accuracies from 0 to 1; the speeds are those of the
    whole, of the thread that makes batches, and of the steps alone. ``side`` is that of the crops, pixels.
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


class TrainingError(UserError):
    """Training cannot go on; the message is one sentence that says why."""


class TrainingState:
    """The state of a training run that a checkpoint holds."""

    def __init__(
        self, network: nn.Module, training: Pixels, validation: Pixels, recipe: TrainingConfig, device: torch.device
    ) -> None:
        if recipe.batch % distributed.size():
            raise TrainingError(
                f"A batch of {recipe.batch} cannot be shared by {distributed.size()} processes: "
                "choose a multiple with --batch."
            )
        self.recipe, self.device = recipe, device
        self.training, self.validation = training, validation
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.parallel: nn.Module = self.network
        if distributed.size() > 1:
            self.parallel = DistributedDataParallel(self.network)
        self.average = AveragedModel(self.network, avg_fn=self._blend, use_buffers=True)
        self.steps = max(1, len(training) // recipe.batch)
        self.pictures = min(len(training), self.steps * recipe.batch)
        groups = _parameter_groups(network, recipe.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, recipe.learning_rate, total_steps=recipe.epochs * self.steps, pct_start=0.2
        )
        self.precision = mixed_precision(device)
        self.mixing = mixing(int(training.labels.max()) + 1)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision is torch.float16)
        self.epoch = 0
        self.history: list[Epoch] = []
        self.best: dict[str, Tensor] = {}
        self.best_epoch = 0
        self.stop_wished: Callable[[], bool] = lambda: False

    def ending(self) -> str | None:
        """Why there is no further epoch; None if there is one."""
        if self.history and self.epoch - self.best_epoch >= self.recipe.patience:
            return f"no lower validation loss for {self.recipe.patience} epochs"
        return "all epochs done" if self.epoch >= self.recipe.epochs else None

    def _blend(self, average: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        # The average starts short and lengthens: a fixed decay would keep the random start for many steps.
        if not average.is_floating_point():
            return current
        n = float(count)
        return torch.lerp(current, average, min(self.recipe.ema, (1 + n) / (10 + n)))

    def run_epoch(self) -> Epoch | None:
        """Train for an epoch and validate; None if Ctrl-C cut it short."""
        # Seeded by the epoch, not carried over: a resumed run draws what the unbroken one would have drawn.
        seed = self.recipe.seed * 1_000_003 + self.epoch
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        side = self.recipe.side(self.epoch)
        part = distributed.rank(), distributed.size()
        batches = Ahead(training_batches(self.training, self.recipe, side, generator, self.device, part))
        self.network.train()
        loss_sum = torch.zeros((), device=self.device)
        correct = torch.zeros((), device=self.device)
        seen = 0
        title = f"epoch {self.epoch + 1:>3}/{self.recipe.epochs}{self._time_left()}"
        with tqdm(total=self.pictures, desc=title, unit=" images", disable=not distributed.is_first()) as bar:
            start = time.perf_counter()
            for pictures, labels in batches:
                if self._stopping():
                    return None
                loss, hits = self._step(*self._mixed(pictures, labels))
                loss_sum += loss * len(labels)
                correct += hits
                seen += len(labels)
                bar.update(len(labels) * distributed.size())
                if seen // self.recipe.batch % 10 == 0:  # reading a value waits for the device
                    bar.set_postfix(loss=f"{loss_sum.item() / seen:.3f}", accuracy=f"{correct.item() / seen:.1%}")
            seen *= distributed.size()
            loss_sum, correct = distributed.total(loss_sum), distributed.total(correct)
            train_loss, train_accuracy = loss_sum.item() / seen, correct.item() / seen
            seconds = time.perf_counter() - start
            speed, loader, step = (
                seen / max(spent, 1e-9) for spent in (seconds, batches.busy, seconds - batches.waited)
            )
            validation_loss, validation_accuracy = distributed.of_first(
                self._validate() if distributed.is_first() else (0.0, 0.0)
            )
            if not math.isfinite(train_loss + validation_loss):
                raise TrainingError(
                    f"The loss is not a number in epoch {self.epoch + 1}: lower --learning-rate "
                    f"(it is {self.recipe.learning_rate:g})."
                )
            bar.set_postfix(
                loss=f"{train_loss:.3f}",
                accuracy=f"{train_accuracy:.1%}",
                validation=f"{validation_accuracy:.1%}",
                side=side,
                loader=f"{loader:.0f} images/s",
                step=f"{step:.0f} images/s",
            )
        self.epoch += 1
        done = Epoch(
            self.epoch,
            train_loss,
            train_accuracy,
            validation_loss,
            validation_accuracy,
            speed,
            float(self.schedule.get_last_lr()[0]),
            side,
            loader,
            step,
        )
        if not self.history or validation_loss < min(e.validation_loss for e in self.history):
            self.best_epoch = self.epoch
            self.best = {k: v.detach().cpu().clone() for k, v in self.average.module.state_dict().items()}
        self.history.append(done)
        return done

    def _time_left(self) -> str:
        """How long all further epochs take, as long as the last; empty in the first."""
        if not self.history:
            return ""
        seconds = (self.recipe.epochs - self.epoch) * len(self.training) / self.history[-1].images_per_second
        return f", {timedelta(seconds=round(seconds))} left in all"

    def _stopping(self) -> bool:
        """Whether any of the processes was asked to stop: all must leave at the same step."""
        if distributed.size() == 1:
            return self.stop_wished()
        wish = torch.tensor(float(self.stop_wished()), device=self.device)
        return bool(distributed.total(wish))

    def _mixed(self, pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self.recipe.mixes(self.epoch) and torch.rand(()).item() < self.recipe.mix:
            return self.mixing(pictures, labels)
        return pictures, labels

    def _step(self, pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(self.device.type, self.precision, enabled=self.precision is not None):
            logits = self.parallel(pictures)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.average.update_parameters(self.network)
        return loss.detach(), (logits.argmax(1) == (labels if labels.ndim == 1 else labels.argmax(1))).sum()

    @torch.inference_mode()
    def _validate(self) -> tuple[float, float]:
        self.average.eval()
        batches = []
        for pictures, _ in plain_batches(self.validation, EVALUATION_BATCH, self.device):
            with torch.autocast(self.device.type, self.precision, enabled=self.precision is not None):
                batches.append(self.average(pictures).float().cpu())
        logits, labels = torch.cat(batches), self.validation.labels
        # At its best temperature, as it will be served: augmentation and smoothing make a network doubt more than it
        # should, and the plain loss would punish the better of two for that.
        loss = F.cross_entropy(logits / fit_temperature(logits, labels), labels)
        return loss.item(), (logits.argmax(1) == labels).float().mean().item()

    def save(self, path: Path) -> None:
        """Write all that is needed to go on."""
        state = {
            "epoch": self.epoch,
            "history": [asdict(e) for e in self.history],
            "best": self.best,
            "best_epoch": self.best_epoch,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        checkpoint.write(path, self.recipe, state)

    def restore(self, path: Path) -> None:
        """Go on from what ``save`` wrote.

        Raises:
            CheckpointError: It is missing, unreadable or of another recipe.
        """
        state = checkpoint.read(path, self.recipe)
        self.epoch, self.best, self.best_epoch = state["epoch"], state["best"], state["best_epoch"]
        self.history = [Epoch(**e) for e in state["history"]]
        for name in ("network", "average", "optimizer", "schedule", "scaler"):
            getattr(self, name).load_state_dict(state[name])


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    # Decaying biases and the scales of normalisation layers only hurts (He et al. 2019).
    matrices = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]

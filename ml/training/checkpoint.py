"""Write and read the checkpoint from which an interrupted training resumes."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ml.atomic import whole_file
from ml.errors import UserError
from ml.training.config import TrainingConfig

CHECKPOINT = "checkpoint.pt"
# The key of the config; its name is older than the class.
CONFIG = "recipe"
# Settings of what follows the epochs: a finished run may be resumed to try others.
LATER = ("blend", "views", "serve_crop")


class CheckpointError(UserError):
    """Raised when a checkpoint cannot be read, written or resumed from."""


def write(path: Path, config: TrainingConfig, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically.

    Raises:
        CheckpointError: The disk is full or not writable; the earlier checkpoint is kept.
    """
    try:
        with whole_file(path) as file:
            torch.save({CONFIG: asdict(config)} | state, file)
    except (OSError, RuntimeError) as error:
        # PyTorch wraps a failed write into a RuntimeError.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        again = f"continue from the previous epoch with --resume {path.parent}" if path.exists() else "train again"
        raise CheckpointError(f"{path} cannot be written ({cause.strerror}). Free some space, then {again}.") from error


def read(path: Path) -> tuple[TrainingConfig, dict[str, Any]]:
    """Read the config and the state of a checkpoint.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return TrainingConfig(**state.pop(CONFIG)), state
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} does not exist: the run was stopped before its first epoch, or trained the head alone. "
            "Train again with another --out instead of --resume; what was computed is in the cache."
        ) from None
    except Exception as error:  # PyTorch raises many types for a damaged file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "weights_only" in str(error):  # PyTorch's advice to load a file unsafely
            reason = "ml.train did not write it, or it is damaged"
        raise CheckpointError(f"{path} cannot be read as a checkpoint ({reason}).") from error


def require_same(path: Path, earlier: TrainingConfig, config: TrainingConfig) -> None:
    """Check that a training may resume from the checkpoint of an earlier config.

    Raises:
        CheckpointError: The configs differ, in more than the settings of what follows the epochs.
    """
    differing = [n for n, value in asdict(config).items() if n not in LATER and value != getattr(earlier, n)]
    if differing:
        raise CheckpointError(
            f"{path} was made with other settings ({', '.join(differing)}): resume with the same data and settings."
        )

"""The file from which an interrupted training goes on."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ml.atomic import whole_file
from ml.errors import UserError
from ml.training.config import TrainingConfig

CHECKPOINT = "checkpoint.pt"


class CheckpointError(UserError):
    """A checkpoint cannot be read, written or gone on from; the message is one sentence that says why."""


def write(path: Path, recipe: TrainingConfig, state: dict[str, Any]) -> None:
    """Write a checkpoint; a crash in between leaves the earlier one as it was.

    Raises:
        CheckpointError: The disk is full, or cannot be written to.
    """
    try:
        with whole_file(path) as file:
            torch.save({"recipe": asdict(recipe)} | state, file)
    except (OSError, RuntimeError) as error:
        # PyTorch makes an error of its own of a write that failed.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise CheckpointError(
            f"{path} cannot be written ({cause.strerror}). Make room, then go on from the epoch before it "
            f"with --resume {path.parent}."
        ) from error


def read(path: Path, recipe: TrainingConfig | None = None) -> dict[str, Any]:
    """Read a checkpoint.

    Args:
        path: Its file.
        recipe: What it must have been made with; None for anything.

    Raises:
        CheckpointError: There is none, it cannot be read, or it is of another recipe.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        earlier = TrainingConfig(**state["recipe"])
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} does not exist: no epoch was finished there, so there is nothing to resume."
        ) from None
    except Exception as error:  # a damaged file fails in a dozen ways
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path} cannot be read as a checkpoint ({reason}).") from error
    if recipe:
        require_same(path, earlier, recipe)
    return state


def require_same(path: Path, earlier: TrainingConfig, recipe: TrainingConfig) -> None:
    """Check that a checkpoint's recipe is the one to go on with.

    Raises:
        CheckpointError: They differ.
    """
    differing = [name for name, value in asdict(recipe).items() if value != getattr(earlier, name)]
    if differing:
        raise CheckpointError(
            f"{path} is of another recipe (different: {', '.join(differing)}): resume with the same data and settings."
        )

"""Run ml.train, and kill it around its first checkpoint: python -m tests.faults.dying_training MOMENT OPTIONS."""

import os
import random
import runpy
import signal
import sys
from pathlib import Path

from torch.optim.optimizer import register_optimizer_step_post_hook


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(moment: str) -> None:
    rename = Path.replace
    steps = random.randrange(1, 4)  # an epoch has more
    checkpoints = 0

    def replace(unfinished: Path, path: Path) -> Path:
        nonlocal checkpoints
        if path.name == "checkpoint.pt":
            checkpoints += 1
            if moment == "while writing":
                os.truncate(unfinished, unfinished.stat().st_size // 2)
                die()
        renamed = rename(unfinished, path)
        if checkpoints and moment == "written, not yet reported":
            die()
        return renamed

    def count(*_: object) -> None:
        nonlocal steps
        steps -= checkpoints
        if moment == "in the next epoch" and not steps:
            die()

    Path.replace = replace
    register_optimizer_step_post_hook(count)


if __name__ == "__main__":
    die_at(sys.argv.pop(1))
    runpy.run_module("ml.train", run_name="__main__")

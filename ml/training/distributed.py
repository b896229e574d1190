"""Train one network in several processes, started by ``torchrun --nproc-per-node N -m ml.train …``.

Rank 0 is the main process: it prints, logs and writes. Without torchrun it is the only one.
"""

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

# The others wait while the main process decodes the images and trains the head.
TIMEOUT = timedelta(days=1)


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the process group for the block if torchrun started this process: NCCL on GPUs, else Gloo."""
    if not dist.is_torchelastic_launched():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """Choose the GPU of this process; other devices are shared."""
    if device.type == "cuda" and dist.is_torchelastic_launched():
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


def rank() -> int:
    """Return the rank of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main_process() -> bool:
    """Tell whether this is rank 0; works before ``process_group`` too."""
    return not dist.is_torchelastic_launched() or os.environ.get("RANK", "0") == "0"


def sum_over_processes(value: Tensor) -> Tensor:
    """Add up the values of all processes, in place."""
    if world_size() > 1:
        dist.all_reduce(value)
    return value


def broadcast_from_main(value: T) -> T:
    """Return the main process's value in all processes; each waits for it."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]

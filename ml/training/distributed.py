"""Several processes that train one network: which of them this is, and what they do together.

``torchrun --nproc-per-node N -m ml.train …`` starts them. In a process that it did not start there is one: the first.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@contextlib.contextmanager
def processes(device: torch.device) -> Iterator[None]:
    """Join the others for the block, if ``torchrun`` started this process: with NCCL on GPUs, else with Gloo."""
    if not dist.is_torchelastic_launched():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def own_device(device: torch.device) -> torch.device:
    """The GPU of this process, where each has its own; other devices are shared."""
    if device.type == "cuda" and dist.is_torchelastic_launched():
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that prints, logs and writes; also before the block of ``processes``."""
    return int(os.environ.get("RANK", 0)) == 0 if dist.is_torchelastic_launched() else True


def total(value: Tensor) -> Tensor:
    """Add up the values of all processes, in place."""
    if size() > 1:
        dist.all_reduce(value)
    return value


def of_first(value: T) -> T:
    """Give the first process's value to all, waiting for it."""
    if size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]

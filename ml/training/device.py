"""Where to compute, and in which precision."""

import platform

import torch

from ml.errors import UserError
from ml.training import processor

DEVICES = ("cuda", "mps", "cpu")


class DeviceError(UserError):
    """The device cannot be used; the message is one sentence that says what to do."""


def choose_device(name: str = "auto") -> torch.device:
    """Take the named device, or the first of ``DEVICES`` that this machine has.

    Raises:
        DeviceError: PyTorch does not find the named device here.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device in DEVICES if present[device])
    if not present[name]:
        raise DeviceError(f"PyTorch finds no {name} device on this machine: leave --device out to take the best.")
    return torch.device(name)


def mixed_precision(device: torch.device) -> torch.dtype | None:
    """Give the 16-bit type that makes this device faster, or None where it would not."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16"):
        return torch.bfloat16
    return None


def describe_machine(device: torch.device) -> str:
    """Name what computes, and with how many threads or which PyTorch, for people who compare times."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{processor.name()}, {torch.get_num_threads()} threads"
    return f"{name}, {platform.system()}, torch {torch.__version__}"

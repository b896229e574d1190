"""Choose the device and its precision."""

import contextlib
import os
import platform
from pathlib import Path

import psutil
import torch

from ml.errors import UserError

DEVICES = ("cuda", "mps", "cpu")
# Over which the use of the processors is measured.
MEASURED_SECONDS = 1.0


class DeviceError(UserError):
    """Raised when this machine lacks the requested device."""


def choose_device(name: str = "auto") -> torch.device:
    """Choose the named device; ``auto`` is the first of ``DEVICES`` that this machine has.

    Raises:
        DeviceError: PyTorch does not find the device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device in DEVICES if available[device])
    if not available[name]:
        raise DeviceError(f"PyTorch finds no {name} device on this machine: omit --device to use the best one.")
    return torch.device(name)


def use_free_processors(device: torch.device) -> None:
    """Limit PyTorch to as many threads as processors are free now; beside a GPU, to one.

    Its threads share each operation and wait for each other: where one of them has to wait for a processor, all do, and
    two threads on a busy machine are many times slower than one. Beside a GPU the threads of the loader compute.
    """
    if device.type != "cpu":
        torch.set_num_threads(1)
        return
    # Not the load average: it lags a minute, so that an installation just before would count.
    idle = 1 - psutil.cpu_percent(MEASURED_SECONDS) / 100
    torch.set_num_threads(max(1, min(torch.get_num_threads(), round(_processors() * idle))))


def loader_threads(device: torch.device, processes: int = 1) -> int:
    """Choose the number of threads that augment images: one beside a CPU that trains, else a process's processors."""
    return 1 if device.type == "cpu" else max(1, _processors() // processes)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def mixed_precision(device: torch.device) -> torch.dtype | None:
    """Choose the 16-bit type that is faster than float32 on a device; None if there is none."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16"):
        return torch.bfloat16
    return None


def describe_machine(device: torch.device) -> str:
    """Describe the hardware and PyTorch version that a training time depends on."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{processor_name()}, {torch.get_num_threads()} threads"
    return f"{name}, {platform.system()}, torch {torch.__version__}"


def processor_name() -> str:
    """Name the CPU model as Linux reports it, else as Python does."""
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open() as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

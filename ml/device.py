"""Where to compute, and in which precision."""

import torch


def choose_device(name: str = "auto") -> torch.device:
    """Take the named device, or the best this machine has: cuda, then mps, then cpu."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def mixed_precision(device: torch.device) -> torch.dtype | None:
    """Give the 16-bit type that makes this device faster, or None where it would not."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return None

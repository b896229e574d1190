"""The device and its precision."""

import pytest
import torch

from ml.training.device import DeviceError, choose_device, mixed_precision


@pytest.mark.parametrize(("cuda", "mps", "best"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_choose_device_takes_the_best_or_the_named_one(cuda, mps, best, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device() == torch.device(best)
    assert choose_device("cpu") == torch.device("cpu")
    for name, available in (("cuda", cuda), ("mps", mps)):
        if not available:
            with pytest.raises(DeviceError, match=f"finds no {name} device on this machine: omit --device"):
                choose_device(name)


@pytest.mark.parametrize(
    ("device", "supported", "precision"),
    [
        ("cuda", True, torch.bfloat16),
        ("cuda", False, torch.float16),
        ("cpu", True, torch.bfloat16),
        ("cpu", False, None),
    ],
)
def test_mixed_precision_is_the_fastest_supported(device, supported, precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": supported})
    assert mixed_precision(torch.device(device)) is precision


def test_pytorch_names_the_capability_as_expected():
    capabilities = torch.cpu.get_capabilities()
    assert capabilities["architecture"] != "x86_64" or "avx512_bf16" in capabilities

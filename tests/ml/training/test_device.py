"""Where to compute."""

import pytest
import torch

from ml.training.device import DeviceError, choose_device, mixed_precision


def machine(monkeypatch, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(("cuda", "mps", "best"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_the_best_device_is_taken(cuda, mps, best, monkeypatch):
    machine(monkeypatch, cuda, mps)
    assert choose_device() == torch.device(best)
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(name, monkeypatch):
    machine(monkeypatch, cuda=False, mps=False)
    with pytest.raises(DeviceError, match=f"finds no {name} device on this machine: leave --device out"):
        choose_device(name)


@pytest.mark.parametrize(("bf16", "precision"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_graphics_card_computes_in_16_bits(bf16, precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
    assert mixed_precision(torch.device("cuda")) is precision


@pytest.mark.parametrize(("bf16", "precision"), [(True, torch.bfloat16), (False, None)])
def test_a_processor_computes_in_16_bits_where_that_is_faster(bf16, precision, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": bf16})
    assert mixed_precision(torch.device("cpu")) is precision


def test_pytorch_names_the_capability_as_expected():
    capabilities = torch.cpu.get_capabilities()
    assert capabilities["architecture"] != "x86_64" or "avx512_bf16" in capabilities

"""The device and its precision."""

import os

import psutil
import pytest
import torch

from ml.training.device import DeviceError, choose_device, loader_threads, mixed_precision, use_free_processors


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


@pytest.mark.parametrize(
    ("processors", "used", "before", "after"),
    [(8, 2.5, 8, 8), (8, 62.5, 8, 3), (8, 100.0, 8, 1), (8, 62.5, 2, 2), (1, 0.0, 1, 1)],
    ids=["idle", "busy", "overloaded", "fewer wanted", "one processor"],
)
def test_threads_are_as_many_as_free_processors(processors, used, before, after, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)), raising=False)
    monkeypatch.setattr(psutil, "cpu_percent", lambda _: used)
    monkeypatch.setattr(torch, "get_num_threads", lambda: before)
    chosen = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    use_free_processors(torch.device("cpu"))
    use_free_processors(torch.device("cuda"))
    assert chosen == [after, 1]


@pytest.mark.parametrize(
    ("device", "processes", "threads"), [("cpu", 1, 1), ("cuda", 1, 8), ("mps", 3, 2), ("cuda", 16, 1)]
)
def test_the_loader_has_the_processors_beside_a_gpu(device, processes, threads, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert loader_threads(torch.device(device), processes) == threads


def test_processors_are_counted_where_the_system_does_not_tell_which_are_allowed(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(psutil, "cpu_percent", lambda _: 0.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    chosen = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    use_free_processors(torch.device("cpu"))
    assert chosen == [4]


def test_the_use_of_the_processors_is_a_percentage():
    assert 0 <= psutil.cpu_percent(0.05) <= 100

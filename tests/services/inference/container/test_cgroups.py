import os

import pytest

from services.inference.container import cgroups


@pytest.fixture
def cgroup(monkeypatch, tmp_path):
    """Write the files of a container's cgroup."""
    monkeypatch.setattr(cgroups, "FOLDER", tmp_path)

    def write(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(f"{text}\n")

    return write


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("50000", 1), ("100000", 1), ("150000", 1), ("250000", 2), ("6400000", 16), (None, 16)],
)
def test_cpu_limit_is_the_least_of_affinity_and_quota(monkeypatch, cgroup, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert cgroups.cpu_limit() == 16
    cgroup({"cpu/cpu.cfs_quota_us": quota or "-1", "cpu/cpu.cfs_period_us": "100000"})
    assert cgroups.cpu_limit() == expected
    cgroup({"cpu.max": f"{quota or 'max'} 100000"})
    assert cgroups.cpu_limit() == expected


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
@pytest.mark.parametrize(("text", "limit"), [("1073741824", 2**30), ("max", None), ("9223372036854771712", None)])
def test_memory_limit_is_that_of_the_container(cgroup, name, text, limit):
    assert cgroups.memory_limit() is None
    cgroup({name: text})
    assert cgroups.memory_limit() == limit

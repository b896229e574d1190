"""Read the limits of this process's container."""

import os
from pathlib import Path

FOLDER = Path("/sys/fs/cgroup")
UNLIMITED = 2**62  # cgroup version 1 writes no word for it, but the largest multiple of a page


def cpu_limit() -> int:
    """Return the number of CPUs that this process may use: its affinity or its container's quota, at least 1.

    A quota of 1.5 counts as 1, because a second busy worker would only be throttled.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = (_read("cpu.max") or _read("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us") or ["max", ""])[:2]
    if not quota.isdecimal():  # "max", or -1 in version 1
        return affinity
    return max(1, min(affinity, int(quota) // int(period)))


def memory_limit() -> int | None:
    """Return the bytes of memory that this process's container may use; None without a limit."""
    (limit,) = _read("memory.max") or _read("memory/memory.limit_in_bytes") or ["max"]
    return int(limit) if limit.isdecimal() and int(limit) < UNLIMITED else None


def _read(*names: str) -> list[str]:
    """Return the words in files of the cgroup, of version 2 or 1; none where one is missing."""
    try:
        return [word for name in names for word in (FOLDER / name).read_text().split()]
    except OSError:
        return []

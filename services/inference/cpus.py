"""How many processors this process may really use."""

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def limit(cgroups: Path = CGROUPS) -> int:
    """Give the number of processors: the affinity mask or the container's quota, whichever is smaller; at least 1.

    A quota of one and a half counts as one: a second busy worker would only be throttled.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroups)
    return max(1, min(affinity, int(quota))) if quota else affinity


def _quota(cgroups: Path) -> float | None:
    """Processors that the cgroup (version 2, then 1) grants; None without a limit."""
    try:
        quota, period = (cgroups / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroups / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroups / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    unlimited = quota in ("max", "-1")
    return None if unlimited else int(quota) / int(period)

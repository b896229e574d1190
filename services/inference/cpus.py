"""How many processors this process may really use."""

import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def limit(cgroups: Path = CGROUPS, own: Path = OWN) -> int:
    """Give the number of processors: the affinity mask or the smallest quota above this process; at least 1.

    A quota of one and a half counts as one: a second busy worker would only be throttled.

    Args:
        cgroups: Where the cgroup file systems are mounted.
        own: The file that names this process's cgroups.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in _folders(cgroups, own) if (quota := _quota(folder)) is not None]
    return max(1, min(affinity, *map(int, quotas))) if quotas else affinity


def _folders(cgroups: Path, own: Path) -> Iterator[Path]:
    """The cgroups that this process is in, each with those around it: a container's, a pod's, a service's.

    A container mostly sees its own as the root, and the path that ``own`` names is not there.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    paths = {controllers: Path(path.lstrip("/")) for _, controllers, path in (line.split(":", 2) for line in lines)}
    version_1 = next((path for controllers, path in paths.items() if "cpu" in controllers.split(",")), Path())
    for root, path in ((cgroups, paths.get("", Path())), (cgroups / "cpu", version_1)):
        for inner in (path, *path.parents):
            yield root / inner


def _quota(folder: Path) -> float | None:
    """Processors that a cgroup (version 2, or 1) grants; None without a limit."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    unlimited = quota in ("max", "-1")
    return None if unlimited else int(quota) / int(period)

"""The machine of a measurement."""

import datetime
import os
import platform

from ml.training import processor
from services.inference import cpus


def cpu_count() -> int:
    """Count the CPUs that the service would use: affinity mask and cgroup quota, not the host's CPUs."""
    return cpus.limit()


def describe() -> str:
    """Describe processor, CPUs, operating system, Python, date and load."""
    today = datetime.datetime.now(datetime.UTC).date()
    return (
        f"{processor.name()}, {cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, {today}; "
        f"load average before the first measurement {os.getloadavg()[0]:.1f}"
    )

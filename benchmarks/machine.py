"""The machine of a measurement."""

import datetime
import os
import platform
import re
from pathlib import Path

import joblib

CPU_INFO = Path("/proc/cpuinfo")


def cpu_count() -> int:
    """Count the CPUs that this process may use: its affinity mask and cgroup quota, not the host's CPUs."""
    return int(joblib.cpu_count())


def describe() -> str:
    """Describe processor, CPUs, operating system, Python, date and load."""
    model = re.search(r"^model name\s*: (.+)", CPU_INFO.read_text(), re.MULTILINE) if CPU_INFO.exists() else None
    name = model[1] if model else platform.processor() or platform.machine()
    today = datetime.datetime.now(datetime.UTC).date()
    return (
        f"{name}, {cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, {today}; "
        f"load average before the first measurement {os.getloadavg()[0]:.1f}"
    )

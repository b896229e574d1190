"""What a measurement was taken on, for whoever compares it with theirs."""

import contextlib
import datetime
import os
import platform
from pathlib import Path

from services.inference import cpus


def describe() -> str:
    """Name the processor, how many cores may be used, the Python, the day, and what else is running just now."""
    today = datetime.datetime.now(datetime.UTC).date()
    return (
        f"{_processor()}, {cpus.limit()} cores, {platform.system()}, Python {platform.python_version()}, {today}; "
        f"load average before the first measurement {os.getloadavg()[0]:.1f}"
    )


def _processor() -> str:
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open() as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

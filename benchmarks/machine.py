"""What a measurement was taken on, for whoever compares it with theirs."""

import datetime
import os
import platform

from ml.training import processor
from services.inference import cpus


def describe() -> str:
    """Name the processor, how many cores may be used, the Python, the day, and what else is running just now."""
    today = datetime.datetime.now(datetime.UTC).date()
    return (
        f"{processor.name()}, {cpus.limit()} cores, {platform.system()}, Python {platform.python_version()}, {today}; "
        f"load average before the first measurement {os.getloadavg()[0]:.1f}"
    )

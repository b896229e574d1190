"""Python imports this first, where it is on the path: the clock is off by the seconds in the file CLOCK_OFFSET."""

import os
import time
from pathlib import Path

_file = Path(os.environ["CLOCK_OFFSET"])
_real = time.time_ns


def _time_ns() -> int:
    return _real() + int(_file.read_text()) * 10**9


time.time_ns = _time_ns
time.time = lambda: _time_ns() / 1e9

"""Keep C libraries from writing lines into the log, which is JSON."""

import ctypes
from pathlib import Path

MAPS = Path("/proc/self/maps")


def silence_libtiff() -> None:
    """Stop libtiff, where Pillow has loaded it, from writing the faults of uploads to the standard error output."""
    lines = MAPS.read_text().splitlines() if MAPS.exists() else []  # without /proc, the lines stay
    for path in {line.split(maxsplit=5)[5] for line in lines if "/libtiff" in line}:
        ctypes.CDLL(path).TIFFSetErrorHandler(None)

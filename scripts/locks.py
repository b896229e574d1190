"""Reads the lock files: what is in the images, by version and hash."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = tuple(ROOT / "services" / name / "requirements.lock" for name in ("inference", "monitor"))
ENTRY = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>[^\s;]+)[^\n]*\n(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}[ \\]*\n)*)", re.M
)


@dataclass(frozen=True)
class Locked:
    """One package: its name as registries write it, its version, and how many files may be it."""

    name: str
    version: str
    hashes: int


def read(file: Path) -> list[Locked]:
    """Every package of a lock file, in the order of the file."""
    return [
        Locked(entry["name"], entry["version"], entry["hashes"].count("sha256:"))
        for entry in ENTRY.finditer(file.read_text())
    ]

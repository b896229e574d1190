"""Read the lock files of the images."""

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
    """A locked package, and the number of files that match its hashes."""

    name: str
    version: str
    hashes: int


def read(file: Path) -> list[Locked]:
    """Read the packages of a lock file, in its order."""
    found = ENTRY.finditer(file.read_text())
    return [Locked(entry["name"], entry["version"], entry["hashes"].count("sha256:")) for entry in found]

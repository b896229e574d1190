"""Read the lock files of the images."""

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker

ROOT = Path(__file__).resolve().parent.parent
FILES = tuple(ROOT / "services" / name / "requirements.lock" for name in ("inference", "monitor"))
ENTRY = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>[^\s;]+)(?: ; (?P<marker>[^\\\n]+))?[^\n]*\n"
    r"(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}[ \\]*\n)*)",
    re.M,
)


@dataclass(frozen=True)
class Locked:
    """A locked package.

    Attributes:
        hashes: Number of files that match the hashes.
        needed_here: The package is for this platform.
    """

    name: str
    version: str
    hashes: int
    needed_here: bool


def read(file: Path) -> list[Locked]:
    """Read the packages of a lock file, in its order."""
    return [
        Locked(
            entry["name"],
            entry["version"],
            hashes=entry["hashes"].count("sha256:"),
            needed_here=not entry["marker"] or Marker(entry["marker"]).evaluate(),
        )
        for entry in ENTRY.finditer(file.read_text())
    ]

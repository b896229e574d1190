"""Print why the virtual environment of this Python must be made anew, or nothing."""

import re
import sys
import sysconfig
from pathlib import Path

# Of a script that pip installed; a long path is in the second line.
INTERPRETER = re.compile(r"(/[^\n\"]+)/bin/python")


def find_fault(environment: Path, packages: Path) -> str:
    """Return why the environment cannot be used; empty if it can."""
    if not packages.is_dir():
        return f"its packages are not for Python {sys.version_info.major}.{sys.version_info.minor}"
    pip = environment / "bin" / "pip"
    if pip.is_file() and (found := INTERPRETER.search(pip.read_text()[:1000])):
        made = Path(found[1])
        if not (made.is_dir() and made.samefile(environment)):
            return f"it was moved here from {made}"
    return ""


if __name__ == "__main__":
    sys.stdout.write(find_fault(Path(sys.prefix), Path(sysconfig.get_path("purelib"))))

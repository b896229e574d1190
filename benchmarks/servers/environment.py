"""A virtual environment for each compared program, beside its requirements; git ignores it."""

import subprocess
import sysconfig
import venv
from pathlib import Path


class NotInstalledError(Exception):
    """Packages could not be installed; the message has the error of pip."""


def python(folder: Path, shares_torch: bool = False) -> Path:
    """Install the packages in a folder's requirements.txt unless they are installed, and return the interpreter.

    Args:
        folder: Has requirements.txt, and gets ``.venv``.
        shares_torch: Let the environment import the repository's packages too.

    Raises:
        NotInstalledError: pip failed.
    """
    interpreter = folder / ".venv" / "bin" / "python"
    if not interpreter.exists():
        venv.create(folder / ".venv", with_pip=True)
    pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    result = subprocess.run([*pip, "-r", str(folder / "requirements.txt")], capture_output=True, text=True)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise NotInstalledError(f"{folder.name}: {lines[-1]}")
    if shares_torch:
        (packages,) = folder.glob(".venv/lib/python3*/site-packages")
        (packages / "repository.pth").write_text(sysconfig.get_path("purelib"))  # behind its own packages
    return interpreter

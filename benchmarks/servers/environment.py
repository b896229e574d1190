"""A virtual environment for each compared server, beside its requirements; git ignores it."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from benchmarks.servers import FOLDER, Server


class NotInstalledError(Exception):
    """The packages of a server could not be installed; the message has the error of pip."""


def python(server: Server) -> Path:
    """Install the packages of a server unless they are installed, and return its interpreter.

    Raises:
        NotInstalledError: pip failed.
    """
    if server.folder is None:
        return Path(sys.executable)
    folder = FOLDER / server.folder
    interpreter = folder / ".venv" / "bin" / "python"
    if not interpreter.exists():
        venv.create(folder / ".venv", with_pip=True)
    pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    result = subprocess.run([*pip, "-r", str(folder / "requirements.txt")], capture_output=True, text=True)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise NotInstalledError(f"{folder.name}: {lines[-1]}")
    if server.shares_torch:
        (packages,) = folder.glob(".venv/lib/python3*/site-packages")
        (packages / "repository.pth").write_text(sysconfig.get_path("purelib"))  # behind its own packages
    return interpreter

"""A virtual environment for each compared server, beside its requirements; git ignores it."""

import hashlib
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from benchmarks.servers import FOLDER, Server

ENVIRONMENT = ".venv"
STAMP = "requirements.sha256"
OWN = "services/inference/requirements.txt"


class NotInstalledError(Exception):
    """A server's packages could not be had; the message says why."""


def python(server: Server) -> Path:
    """Give the interpreter that has a server's packages; they are installed the first time.

    Raises:
        NotInstalledError: pip refused.
    """
    if server.folder is None:
        return Path(sys.executable)
    requirements = FOLDER / server.folder / "requirements.txt"
    environment = requirements.with_name(ENVIRONMENT)
    interpreter = environment / "bin" / "python"
    stamp = environment / STAMP
    wanted = hashlib.sha256(requirements.read_bytes() + Path(OWN).read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        venv.create(environment, with_pip=True, clear=True)
        _install(interpreter, requirements)
        if server.lends_torch:
            _lend(environment)
        stamp.write_text(wanted)
    return interpreter


def _install(interpreter: Path, requirements: Path) -> None:
    command = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    result = subprocess.run([*command, "-r", str(requirements)], capture_output=True, text=True)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise NotInstalledError(f"{requirements.parent.name}: {lines[-1]}")


def _lend(environment: Path) -> None:
    """Let an environment see the repository's packages, behind its own."""
    (packages,) = environment.glob("lib/python3*/site-packages")
    (packages / "repository.pth").write_text(sysconfig.get_path("purelib"))

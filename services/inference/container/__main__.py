"""Commands for the container, which has no shell.

``python -m services.inference.container healthcheck | drain | copy-tools FOLDER``
"""

import http.client
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

DRAIN_SECONDS = 10
TIMEOUT = 3  # seconds


def healthcheck() -> int:
    """Return exit code 0 if GET /health answers 200 in time, else 1."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT") or 8000), timeout=TIMEOUT)
    try:
        connection.request("GET", "/health")
        return int(connection.getresponse().status != 200)
    except (OSError, http.client.HTTPException):
        return 1


def drain() -> int:
    """Create DRAIN_FILE, and wait until clients have moved to other instances; for a pod's preStop hook."""
    Path(os.environ["DRAIN_FILE"]).touch()
    time.sleep(DRAIN_SECONDS)
    return 0


def copy_tools(folder: str) -> int:
    """Copy ``cp``, its libraries and their loader to a folder, for a container whose image has no program.

    There ``FOLDER/ld.so --library-path FOLDER FOLDER/cp`` is a command of its own.
    """
    program = shutil.which("cp")
    assert program
    (loader,) = Path("/").glob("lib*/ld-linux*.so.*")
    listed = subprocess.run([loader, "--list", program], check=True, capture_output=True, text=True).stdout
    # Lines such as: libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007fb79c0da000)
    libraries = [line.partition(" => ")[2].split()[0] for line in listed.splitlines() if " => " in line]
    shutil.copy(loader, Path(folder, "ld.so"))
    for file in (program, *libraries):
        shutil.copy(file, folder)
    return 0


if __name__ == "__main__":
    commands: dict[str, Callable[..., int]] = {"healthcheck": healthcheck, "drain": drain, "copy-tools": copy_tools}
    sys.exit(commands[sys.argv[1]](*sys.argv[2:]))

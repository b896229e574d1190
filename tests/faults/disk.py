"""A small disk for one process: a tmpfs that only it and its children see, which can be filled and made read-only."""

import os
import subprocess
from pathlib import Path

# Who is not root makes a user namespace in which they are.
UNSHARE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--user", "--map-root-user"]
MOUNT = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'


def on_small_disk(folder: Path, size: str, command: list[str]) -> list[str]:
    """The command, for which ``folder`` is a disk of ``size``, such as ``512k``."""
    folder.mkdir(exist_ok=True)
    return [*UNSHARE, "sh", "-c", MOUNT, "sh", size, str(folder), *command]


def seen_by(pid: int, folder: Path) -> Path:
    """The folder as that process sees it."""
    return Path(f"/proc/{pid}/root{folder}")


def fill(pid: int, folder: Path) -> Path:
    """Leave no byte free; gives the file that takes the space."""
    path = seen_by(pid, folder) / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == 28, error
    return path


def make_read_only(pid: int, folder: Path) -> None:
    """Let nothing be changed in the folder from now on, but through files that are open."""
    enter = ["nsenter", f"--target={pid}", "--mount"] + ([] if os.geteuid() == 0 else ["--user"])
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"'
    subprocess.run([*enter, "sh", "-c", script, "sh", str(folder)], check=True)

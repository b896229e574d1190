"""Hands this machine's pip settings to a build: writes one pip.conf, and prints the options that mount it all."""

import ast
import configparser
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

IN_THE_BUILD = Path("/etc/pip.conf")


def settings() -> dict[str, str]:
    """What pip is set to by its files and by its environment variables, which come last and win."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pairs = [line.partition("=") for line in text.splitlines()]
    ordered = sorted(pairs, key=lambda pair: pair[0].startswith(":env:"))
    return {name.rpartition(".")[2]: ast.literal_eval(value) for name, _, value in ordered}


def places(values: Iterator[str]) -> set[Path]:
    """The files and folders of this machine that the values name."""
    found = set()
    for word in " ".join(values).split():
        address = urlsplit(word)
        path = Path(address.path)
        if address.scheme in ("", "file") and path.is_absolute() and path.exists():
            # The pages of an index point to files beside it.
            found.add(path.parent if address.scheme else path)
    return found


def main() -> None:
    """Write the file that is named on the command line, and print an option per line."""
    file = Path(sys.argv[1])
    found = settings()
    handed = configparser.RawConfigParser()
    handed["global"] = found
    with file.open("w") as stream:
        handed.write(stream)
    print(f"--volume={file.resolve()}:{IN_THE_BUILD}:ro")
    for path in sorted(places(iter(found.values()))):
        print(f"--volume={path}:{path}:ro")


if __name__ == "__main__":
    main()

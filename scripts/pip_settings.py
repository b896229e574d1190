"""Pass the pip settings of this machine to a build: write a pip.conf, and print options that mount its files."""

import ast
import configparser
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

IN_THE_BUILD = Path("/etc/pip.conf")


def settings() -> dict[str, str]:
    """Return the settings of pip; environment variables override files."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pairs = sorted((line.partition("=") for line in text.splitlines()), key=lambda pair: pair[0].startswith(":env:"))
    return {name.rpartition(".")[2]: ast.literal_eval(value) for name, _, value in pairs}


def local_paths(values: list[str]) -> set[Path]:
    """Return the files and folders of this machine that the values name."""
    found = set()
    for word in " ".join(values).split():
        address = urlsplit(word)
        path = Path(address.path)
        if address.scheme in ("", "file") and path.is_absolute() and path.exists():
            # The pages of an index link to files beside its folder.
            found.add(path.parent if address.scheme else path)
    return found


def main() -> None:
    """Write the file that the command line names, and print an option per line."""
    file, config = Path(sys.argv[1]), configparser.RawConfigParser()
    config["global"] = found = settings()
    with file.open("w") as stream:
        config.write(stream)
    print(f"--volume={file.resolve()}:{IN_THE_BUILD}:ro")
    for path in sorted(local_paths(list(found.values()))):
        print(f"--volume={path}:{path}:ro")


if __name__ == "__main__":
    main()

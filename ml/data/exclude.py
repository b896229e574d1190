"""Exclusion lists: text files with one shell pattern a line, and the ``--exclude`` flag."""

import argparse
import fnmatch
import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from ml.data.dataset import DataError


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Add the flag to a parser; it may be used several times."""
    text = "file with patterns of images to leave out, one a line; may be given several times"
    parser.add_argument("--exclude", type=Path, action="append", default=[], metavar="FILE", help=text)


def read(lists: Sequence[Path]) -> dict[str, str]:
    """Read lists of patterns, by relative path; an absolute path is shortened to its name, as it names a machine.

    Raises:
        DataError: A list cannot be read, or two have the same name.
    """
    texts: dict[str, str] = {}
    for path in lists:
        name = path.name if path.is_absolute() else path.as_posix()
        if name in texts:
            raise DataError(f"Two lists are called {name}: rename one, so that reports can tell them apart.")
        try:
            texts[name] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            raise DataError(f"The list {path} cannot be read ({error}).") from error
    return texts


def patterns(text: str) -> list[str]:
    """Return the patterns in a list's text, without blank lines and comments."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def matcher(text: str) -> Callable[[str], bool]:
    """Make a test for names with forward slashes; case and the last extension do not matter."""
    matches = re.compile("|".join(fnmatch.translate(p.lower()) for p in patterns(text)) or "(?!)").match

    def named(name: str) -> bool:
        name = name.lower()
        forms = (name, name.rpartition("/")[2])
        return any(matches(form) or matches(form.removesuffix(PurePosixPath(form).suffix)) for form in forms)

    return named

"""Lists of pictures to keep out: text files with one shell pattern a line, and their ``--exclude`` flag."""

import argparse
import fnmatch
import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from ml.data.dataset import DataError


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Give a parser the flag, which may be used several times."""
    text = "file with patterns of pictures to leave out, one a line; may be given several times"
    parser.add_argument("--exclude", type=Path, action="append", default=[], metavar="FILE", help=text)


def read(lists: Sequence[Path]) -> dict[str, str]:
    """Read lists of patterns, by their paths as given; by their names where the path says which machine this is.

    Raises:
        DataError: One cannot be read, or two have the same name.
    """
    texts: dict[str, str] = {}
    for path in lists:
        name = path.name if path.is_absolute() else path.as_posix()
        if name in texts:
            raise DataError(f"Two lists are called {name}: rename one, so that what they leave out can be told.")
        try:
            texts[name] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            raise DataError(f"The list {path} cannot be read ({error}).") from error
    return texts


def patterns(text: str) -> list[str]:
    """The patterns of a list's text, without blank lines and comments."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def matcher(text: str) -> Callable[[str], bool]:
    """Make a test for names, with forward slashes; neither case nor the last extension matters."""
    matches = re.compile("|".join(fnmatch.translate(p.lower()) for p in patterns(text)) or "(?!)").match

    def named(name: str) -> bool:
        name = name.lower()
        return any(matches(n) or matches(n.removesuffix(PurePosixPath(n).suffix)) for n in (name, _last(name)))

    return named


def _last(name: str) -> str:
    return name.rpartition("/")[2]

"""List the licences of the packages in the images: docs/licences.md."""

import re
import sys
from importlib import metadata
from pathlib import Path

from scripts import locks

PAGE = Path(__file__).resolve().parent.parent / "docs" / "licences.md"
ROW = re.compile(r"^\| (?P<name>[\w.-]+) \| (?P<version>\S+) \| (?P<licence>[^|]+) \|", re.M)
COPYLEFT = re.compile(r"GPL|MPL|EPL|CDDL|EUPL|OSL|Mozilla|General Public|share.?alike", re.IGNORECASE)
# Copyleft packages that may be shipped, because they are unchanged.
NAMED = {"certifi": "the list of root certificates, unchanged; the MPL reaches its own files only"}
HEAD = """\
# Licences

Before you pass the images on, look here for the licence of every package in them, from the lock files and the packages'
own metadata. `make lock` writes this page.

| package | version | licence | image |
| --- | --- | --- | --- |
"""


class LicenceError(Exception):
    """A package has no licence, or one that is not allowed."""


def licence(package: metadata.Distribution) -> str:
    """Return the licence that an installed package names; empty if it names none."""
    found = package.metadata
    classifiers = [line.rpartition(" :: ")[2] for line in found.get_all("Classifier", []) if line.startswith("License")]
    older = ", ".join(classifiers) or "".join(found.get_all("License", [])[:1]).split("\n")[0]
    return "".join(found.get_all("License-Expression", [])) or older


def checked(name: str, version: str, known: dict[tuple[str, str], str]) -> str:
    """Return the licence of a locked package: from its metadata where that version is installed, else a known one.

    Raises:
        LicenceError: It is not known, or must not be shipped.
    """
    installed = next(iter(metadata.distributions(name=name)), None)
    if installed and installed.version == version:
        found = licence(installed)
    elif (name, version) in known:
        found = known[name, version]
    else:
        command = f"pip install --no-deps {name}=={version}"
        raise LicenceError(f"{name} {version} is in a lock file, but not installed here: {command}")
    if not found:
        raise LicenceError(f"{name} {version} names no licence. Read its files, and replace it if there is none.")
    if COPYLEFT.search(found) and name not in NAMED:
        raise LicenceError(f"{name} {version} has the licence {found}. Replace it, or allow it in {__name__}.NAMED.")
    return found


def page(before: str = "") -> str:
    """Return the page in Markdown; packages that are not installed keep their licences of the page ``before``.

    Raises:
        LicenceError: A package must not be shipped.
    """
    known = {(row["name"], row["version"]): row["licence"] for row in ROW.finditer(before)}
    images: dict[tuple[str, str], list[str]] = {}
    for file in locks.FILES:
        for package in locks.read(file):
            images.setdefault((package.name, package.version), []).append(file.parent.name)
    rows = [
        f"| {name} | {version} | {checked(name, version, known)} | {', '.join(names)} |\n"
        for (name, version), names in sorted(images.items())
    ]
    notes = [f"\n{name} is not as free as the rest: {why}.\n" for name, why in NAMED.items()]
    return "".join((HEAD, *rows, *notes))


if __name__ == "__main__":
    try:
        PAGE.write_text(page(PAGE.read_text()))
    except LicenceError as error:
        sys.exit(str(error))

"""Lists the licences of the packages in the images, as their own metadata names them: docs/licences.md."""

import re
import sys
from importlib import metadata
from pathlib import Path

from scripts import locks

PAGE = Path(__file__).resolve().parent.parent / "docs" / "licences.md"
ROW = re.compile(r"^\| (?P<name>[\w.-]+) \| (?P<version>\S+) \| (?P<licence>[^|]+) \|", re.M)

COPYLEFT = re.compile(r"GPL|MPL|EPL|CDDL|EUPL|OSL|Mozilla|General Public|share.?alike", re.IGNORECASE)
# What asks that changes to its own files are passed on, and is shipped unchanged.
NAMED = {"certifi": "the list of root certificates, unchanged; the MPL reaches its own files only"}
HEAD = """\
# Licences

Every package in the images, from the lock files and the packages' own metadata. `make lock` writes this page.

| package | version | licence | image |
| --- | --- | --- | --- |
"""


class LicenceError(Exception):
    """A package has no licence, or one that nobody has agreed to."""


def licence(package: metadata.Distribution) -> str:
    """The licence of an installed package: its SPDX expression, or the older fields' words; empty if it names none."""
    found = package.metadata
    classifiers = [
        line.rpartition(" :: ")[2] for line in found.get_all("Classifier", []) if line.startswith("License ::")
    ]
    older = ", ".join(classifiers) or "".join(found.get_all("License", [])[:1]).split("\n")[0]
    return "".join(found.get_all("License-Expression", [])) or older


def checked(name: str, version: str, before: dict[tuple[str, str], str]) -> str:
    """The licence of a locked package, which may be shipped with it.

    Only that version's own words count: an environment that has another one, since the index has moved on, says
    nothing about what is in the image. Then it is what the page said ``before``.

    Raises:
        LicenceError: It is in neither place, names none, or a copyleft licence and is not in ``NAMED``.
    """
    installed = next(iter(metadata.distributions(name=name)), None)
    if installed and installed.version == version:
        said = licence(installed)
    elif (name, version) in before:
        said = before[name, version]
    else:
        raise LicenceError(
            f"{name} {version} is in a lock file, but not installed here: pip install --no-deps {name}=={version}"
        )
    if not said:
        raise LicenceError(f"{name} {version} names no licence. Read its files, and replace it if there is none.")
    if COPYLEFT.search(said) and name not in NAMED:
        raise LicenceError(
            f"{name} {version} has the licence {said}. Replace it, or say in {__name__}.NAMED why it may be shipped."
        )
    return said


def page(before: str = "") -> str:
    """The page, in Markdown; ``before`` is the one to take over what is not installed here.

    Raises:
        LicenceError: A package must not be shipped as it is.
    """
    known = {(row["name"], row["version"]): row["licence"] for row in ROW.finditer(before)}
    images: dict[tuple[str, str], list[str]] = {}
    for file in locks.FILES:
        for one in locks.read(file):
            images.setdefault((one.name, one.version), []).append(file.parent.name)
    rows = [
        f"| {name} | {version} | {checked(name, version, known)} | {', '.join(where)} |\n"
        for (name, version), where in sorted(images.items())
    ]
    notes = [f"\n{name} is not as free as the rest: {why}.\n" for name, why in NAMED.items()]
    return "".join((HEAD, *rows, *notes))


if __name__ == "__main__":
    try:
        PAGE.write_text(page(PAGE.read_text()))
    except LicenceError as error:
        sys.exit(str(error))

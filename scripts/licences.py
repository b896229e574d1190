"""Lists the licences of the packages in the images, as their own metadata names them: docs/licences.md."""

import re
import sys
from importlib import metadata

from scripts import locks

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


def licence(name: str) -> str:
    """The licence of an installed package: its SPDX expression, or the older fields' words.

    Raises:
        LicenceError: It names none, or a copyleft licence and is not in ``NAMED``.
    """
    try:
        found = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        raise LicenceError(f"{name} is in a lock file, but not installed here: install requirements.txt.") from None
    classifiers = [
        line.rpartition(" :: ")[2] for line in found.get_all("Classifier", []) if line.startswith("License ::")
    ]
    older = ", ".join(classifiers) or "".join(found.get_all("License", [])[:1]).split("\n")[0]
    said = "".join(found.get_all("License-Expression", [])) or older
    if not said:
        raise LicenceError(f"{name} names no licence. Read its files, and replace it if there is none.")
    if COPYLEFT.search(said) and name not in NAMED:
        raise LicenceError(
            f"{name} has the licence {said}. Replace it, or say in {__name__}.NAMED why it may be shipped."
        )
    return said


def page() -> str:
    """The page, in Markdown.

    Raises:
        LicenceError: A package must not be shipped as it is.
    """
    images: dict[tuple[str, str], list[str]] = {}
    for file in locks.FILES:
        for one in locks.read(file):
            images.setdefault((one.name, one.version), []).append(file.parent.name)
    rows = [
        f"| {name} | {version} | {licence(name)} | {', '.join(where)} |\n"
        for (name, version), where in sorted(images.items())
    ]
    notes = [f"\n{name} is not as free as the rest: {why}.\n" for name, why in NAMED.items()]
    return "".join((HEAD, *rows, *notes))


if __name__ == "__main__":
    try:
        sys.stdout.write(page())
    except LicenceError as error:
        sys.exit(str(error))

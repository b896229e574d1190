"""Write a data set's folder atomically, and read the description in it."""

import contextlib
import hashlib
import re
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml.data.dataset import DataError

DESCRIPTION_FILE = "dataset.json"


class Description(BaseModel):
    """Origin of a data set; ``download`` and ``sample`` write it, and users may by hand."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(min_length=1)
    source: str | None = Field(default=None, description="address of the archive")
    sha256: str | None = Field(default=None, description="of the archive")
    synthetic: bool = Field(default=False, description="drawn by this project, not photographed")


def slug(name: str) -> str:
    """Reduce a name to lower case with hyphens, fit for a file, a label and an MLflow model.

    A name that loses letters gets a hash, so that two names never become one: ``café`` is ``cafe-850f7dc4``.
    """
    # File systems differ in how they compose accents.
    name = unicodedata.normalize("NFC", name.lower())
    letters = [char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char)]
    short = re.sub(r"[^a-z0-9]+", "-", "".join(letters)).strip("-") or "data"
    # Spaces and punctuation, categories Z and P, tell no names apart in ASCII either.
    if all(char.isascii() or unicodedata.category(char)[0] in "ZP" for char in name):
        return short
    return f"{short}-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:8]}"


def read_description(folder: Path) -> Description | None:
    """Read the folder's ``dataset.json``, if it has one.

    Raises:
        DataError: The file cannot be read.
    """
    path = folder / DESCRIPTION_FILE
    try:
        return Description.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(f"{path}: {place}: {first['msg']}: mend or remove the file.") from error


def require_free(target: Path) -> None:
    """Check that a new folder can be made here.

    Raises:
        DataError: A file or a folder that is not empty is there already.
    """
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists() or target.is_symlink():
        raise DataError(f"{target} is there already: give another --to, or move it away.")


@contextlib.contextmanager
def new_folder(target: Path, description: Description) -> Iterator[Path]:
    """Yield an empty folder that becomes ``target`` when the block ends, and vanishes if the block fails.

    Raises:
        DataError: ``target`` is there already, or the disk fails.
    """
    target = target.resolve()
    require_free(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the last step is a rename on one file system.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as work:
            folder = Path(work, "data")
            folder.mkdir()
            yield folder
            (folder / DESCRIPTION_FILE).write_text(description.model_dump_json(indent=2) + "\n", encoding="utf-8")
            if target.is_dir():
                target.rmdir()  # empty, as checked; Windows does not rename onto a folder
            folder.rename(target)
    except OSError as error:
        raise DataError(f"{target} cannot be written ({error.strerror or error}).") from error

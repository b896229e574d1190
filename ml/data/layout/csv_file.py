"""Read a CSV file that lists images and their classes."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from ml.data.dataset import DataError
from ml.data.layout.listing import ListedFile, quoted
from ml.data.layout.names import class_name, split_named

EXTENSIONS = (".csv", ".tsv")
# The folder format of Hugging Face's data sets.
METADATA = "metadata.csv"
FILE = {"file", "filename", "filepath", "path", "image", "imagefile", "imagename", "imagepath", "img", "imgpath"}
LABEL = {"label", "class", "classname", "target", "category", "labelname"}
SPLIT = {"split", "set", "dataset", "subset", "partition"}
NEEDED = "give it a header line with a column 'file', a column 'label' and, if you like, a column 'split'"


def read(path: Path) -> list[ListedFile]:
    """Read the files that a table lists; their paths are relative to its folder.

    Raises:
        DataError: The table cannot be read, or its columns are not recognised.
    """
    header, *rows = _rows(path) or [[]]
    file, label, split = (_column(path, header, names) for names in (FILE, LABEL, SPLIT))
    if file is None or label is None:
        raise DataError(f"{path} has the columns {quoted(header) or 'of an empty file'}: {NEEDED}.")
    found = []
    for line, row in enumerate(rows, 2):
        if not any(cell.strip() for cell in row):
            continue
        cells = [cell.strip() for cell in row] + [""] * (len(header) - len(row))
        name, text = cells[file].replace("\\", "/"), class_name(cells[label])
        if not name or not text or not text.isprintable():
            raise DataError(f"{path}, line {line}, lacks a file or a label: complete or remove it.")
        stated = None
        if split is not None and not (stated := split_named(cells[split])):
            raise DataError(f"{path}, line {line}: {cells[split]!r} is no split: use train, validation or test.")
        found.append(ListedFile(path.parent / name, (name,), text, stated))
    if not found:
        raise DataError(f"{path} lists no files: add a line for each image.")
    if not any(one.path.exists() for one in found):
        raise DataError(f"No file that {path} lists exists (such as {found[0].path}): write paths relative to the CSV.")
    return found


def lists_labels(path: Path) -> bool:
    """Check for a readable table with a column of files and a column of labels."""
    try:
        header = (_rows(path) or [[]])[0]
        return all(_column(path, header, names) is not None for names in (FILE, LABEL))
    except DataError:
        return False


def _rows(path: Path) -> list[list[str]]:
    try:
        # Spreadsheets write a byte order mark, and commas, semicolons or tabs by country.
        text = path.read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count)))
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV in UTF-8 ({error}).") from error


def _column(path: Path, header: Sequence[str], names: set[str]) -> int | None:
    found = []
    for index, title in enumerate(header):
        plain = re.sub(r"[\W_]", "", title.lower())
        if plain in names or plain.removesuffix("s") in names:
            found.append(index)
    if len(found) > 1:
        titles = " and ".join(header[index] for index in found)
        raise DataError(f"{path} has the columns {titles}, which may mean the same: rename all but one.")
    return found[0] if found else None

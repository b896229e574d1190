"""Find the labelled files in one folder: by class folders, by a metadata.csv, or by file names."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ml.data.dataset import DataError
from ml.data.files import is_folder, is_ignored, walk
from ml.data.layout import csv_file
from ml.data.layout.listing import ListedFile, quoted
from ml.data.layout.names import class_name, classes_in, is_image_name, split_named
from ml.data.split import Split

IMAGES_FOLDERS = {"images", "image", "imgs", "img", "jpegimages"}


@dataclass(frozen=True)
class Part:
    """The labelled files of one folder: a data set, or one split of it.

    Attributes:
        how: Describes in a few words where the classes come from.
        by_names: The classes are in file names, and may be none.
    """

    how: str
    classes: tuple[str, ...]
    files: tuple[ListedFile, ...]
    unreadable: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()
    by_names: bool = False


def subfolders(folder: Path) -> list[Path]:
    """List the folders in a folder, without hidden ones and what operating systems leave behind."""
    return [folder / name for name, inner in _entries(folder) if inner]


def enter(folder: Path) -> Path:
    """Skip outer folders that hold nothing but one folder."""
    here, seen = folder, set()
    while not _has_labels(here) and len(found := subfolders(here)) == 1:
        here = found[0]
        if (real := here.resolve()) in seen:  # a link to a folder above
            break
        seen.add(real)
        if _has_labels(here) or len(subfolders(here)) > 1:
            return here
    return folder


def read_part(folder: Path, outer: Sequence[Path], split: Split | None = None) -> Part | None:
    """Read the labelled files of a folder.

    Args:
        folder: As from ``enter``.
        outer: Folders to which the files' names are relative, beside ``folder``; the first makes them unique.
        split: The split that the folder is.

    Returns:
        The files, or None if none has a label.

    Raises:
        DataError: The folder cannot be read, or is ambiguous.
    """
    outer = (*outer, folder)
    if csv_file.lists_labels(folder / csv_file.METADATA):
        return _by_metadata(folder, outer, split)
    found = subfolders(folder)
    named = _by_names(folder, outer, split)
    if named and len(found) > 1:
        raise DataError(
            f"{folder} holds images that are named by class ({named.files[0].path.name}), and folders "
            f"({quoted(path.name for path in found)}): move one of the two away."
        )
    if named or not found:
        return named
    return _by_folders(folder, found, outer, split)


def advice(folder: Path) -> str:
    """Tell how to label the images below a folder that has no labels."""
    files = [folder / name for name, inner in _entries(folder) if not inner]
    for path in files:
        if path.suffix.lower() in csv_file.EXTENSIONS and csv_file.lists_labels(path):
            return f"give {path}, which lists files and labels"
    for path in files:
        if path.suffix.lower() == ".zip":
            return f"give {path}, or unpack it"
    return "put the images of each class into a folder named as the class"


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """List the names in a folder, sorted, each with True for a folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry.name, is_folder(entry)) for entry in entries if not is_ignored(entry.name))
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror}).") from error


def _image_names(folder: Path) -> list[str]:
    return [name for name, inner in _entries(folder) if not inner and is_image_name(name)]


def _has_labels(folder: Path) -> bool:
    return csv_file.lists_labels(folder / csv_file.METADATA) or bool(_classes_by_file(folder))


def _classes_by_file(folder: Path) -> dict[str, str] | None:
    found = classes_in(_image_names(folder))
    return found if found and len(set(found.values())) > 1 else None


def _names(path: Path, outer: Sequence[Path]) -> tuple[str, ...]:
    # As text: Path.relative_to takes longer than all else here.
    text = path.as_posix()
    bases = ("" if base == Path() else f"{base.as_posix().rstrip('/')}/" for base in outer)
    return tuple(dict.fromkeys(text.removeprefix(base) for base in bases))


def _by_metadata(folder: Path, outer: Sequence[Path], split: Split | None) -> Part:
    files = [
        ListedFile(file.path, _names(file.path, outer), file.class_name, split or file.split)
        for file in csv_file.read(folder / csv_file.METADATA)
    ]
    return Part(f"classes in {csv_file.METADATA}", tuple(sorted({file.class_name for file in files})), tuple(files))


def _by_names(folder: Path, outer: Sequence[Path], split: Split | None) -> Part | None:
    by_file = _classes_by_file(folder)
    if not by_file:
        return None
    files = [ListedFile(folder / name, _names(folder / name, outer), label, split) for name, label in by_file.items()]
    example = next(iter(by_file))
    how = f"classes in the file names ({example} is {by_file[example]!r})"
    return Part(how, tuple(sorted(set(by_file.values()))), tuple(files), by_names=True)


def _by_folders(folder: Path, found: list[Path], outer: Sequence[Path], split: Split | None) -> Part:
    classes: dict[str, Path] = {}
    for path in found:
        name = class_name(path.name)
        if not name.isprintable():
            raise DataError(f"The folder name {path.name!r} in {folder} is not text: rename it to the class's name.")
        if name in classes:
            raise DataError(
                f"The folders {classes[name].name} and {path.name} in {folder} would be one class: rename or merge one."
            )
        classes[name] = path
    if len(classes) > 1 and (images := IMAGES_FOLDERS & classes.keys()):
        within = classes[min(images)]
        raise DataError(
            f"{folder} holds the folders {quoted(path.name for path in found)}, but {within.name} is no class: give "
            f"{within}, or a CSV of files and labels."
        )
    inner = [_inner_names(top) for top in classes.values()]
    has_splits = split is None and any(inner) and all(map(split_named, chain(*inner)))
    files: list[ListedFile] = []
    unreadable: list[tuple[Path, str]] = []
    for name, top in sorted(classes.items()):
        for path, error in walk(top):
            if error:
                unreadable.append((path, error))
            else:
                stated = split_named(path.relative_to(top).parts[0]) if has_splits else split
                files.append(ListedFile(path, _names(path, outer), name, stated))
    notes = []
    if beside := len(_image_names(folder)):
        notes.append(f"{folder}: {beside:,} images beside the class folders are ignored.")
    if all(inner) and not has_splits:
        below = quoted(sorted(set(chain(*inner))))
        notes.append(f"{folder}: the folders in the class folders ({below}) are parts of the classes, not classes.")
    how = "one folder for each class" + (", with a folder for each split" if has_splits else "")
    return Part(how, tuple(sorted(classes)), tuple(files), tuple(unreadable), tuple(notes))


def _inner_names(folder: Path) -> list[str]:
    try:
        return [path.name for path in subfolders(folder)]
    except DataError:  # reported as unreadable when it is walked
        return []

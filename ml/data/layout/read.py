"""Read a data set as people have it: a folder, a zip archive or a CSV file."""

import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ml.data.dataset import DataError
from ml.data.layout import csv_file
from ml.data.layout.archive import unpack_once
from ml.data.layout.folders import advice, enter, read_part, subfolders
from ml.data.layout.listing import ListedFile, Listing, joined, quoted
from ml.data.layout.split_folders import are_splits, read_splits
from ml.data.split import SPLITS, Split


def read(source: Path, progress: bool = True) -> Listing:
    """List the labelled files of a data set.

    Args:
        source: A folder with one folder of images for each class, or with such folders for each split, or with images
            named by class; a zip archive of one; or a CSV file with the columns ``file`` and ``label``.
        progress: Show a progress bar while unpacking.

    Raises:
        DataError: It is none of these, or ambiguous.
    """
    try:
        is_folder, is_file = source.is_dir(), source.is_file()
    except OSError as error:
        raise DataError(f"{source} cannot be read ({error.strerror}).") from error
    if is_folder:
        listing = _read_folder(source)
    elif not source.exists():
        raise DataError(f"There is no folder {source}: give one that holds a folder of images for each class.")
    elif is_file and source.suffix.lower() in csv_file.EXTENSIONS:
        listing = _read_csv(source)
    elif is_file and zipfile.is_zipfile(source):
        listing = _read_archive(source, progress)
    else:
        raise DataError(f"{source} is a file, but no zip archive or CSV: give a folder, a zip archive or a CSV.")
    if len(listing.classes) < 2:
        how = f", so {advice(listing.folder)}" if is_folder else ""
        raise DataError(f"{source} holds one class ({quoted(listing.classes)}): a classifier needs two or more{how}.")
    return listing


def _read_folder(folder: Path) -> Listing:
    root = enter(folder)
    found = subfolders(root)
    if are_splits(root, found):
        return read_splits(folder, root, found)
    part = read_part(root, (root, folder))
    if part is None:
        raise DataError(f"{root} holds no folders, and its file names name no classes: {advice(root)}.")
    return Listing(folder, part.how, part.classes, part.files, part.unreadable, _given(root, part.files), part.notes)


def _read_archive(archive: Path, progress: bool) -> Listing:
    folder, damaged = unpack_once(archive, progress)
    listing = _read_folder(folder)
    if not damaged:
        return listing
    note = f"{len(damaged):,} members of {archive} are damaged and left out: {quoted(damaged)}."
    return replace(listing, notes=(*listing.notes, note))


def _read_csv(path: Path) -> Listing:
    files = csv_file.read(path)
    classes = tuple(sorted({file.class_name for file in files}))
    how = f"files and classes in {path.name}"
    return Listing(path.resolve().parent, how, classes, tuple(files), (), _given(path, files))


def _given(source: Path, files: Sequence[ListedFile]) -> tuple[Split, ...]:
    """Return the splits that files state."""
    given = tuple(split for split in SPLITS if any(file.split == split for file in files))
    if given and "train" not in given:
        raise DataError(f"{source} states the splits {joined(given)}, but no training images: add some.")
    return given

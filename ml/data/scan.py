"""Check a folder with one sub-folder per class, and split its images."""

import hashlib
import os
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ml.data import exclude as excludes
from ml.data.dataset import DataError, Dataset, LabelledImage, Problem, fingerprint
from ml.data.files import UnusableError, is_ignored, load, walk
from ml.data.folder import Description, read_description, slug
from ml.data.near_duplicates import SIDE, find_near_duplicates, thumbnail
from ml.data.split import Group, assign

# All of a file is decoded at any size, so truncation shows; a small size is the fastest.
CHECK_SIZE = 32


@dataclass(frozen=True)
class _File:
    path: Path
    name: str  # relative to the folder of classes, with forward slashes
    label: int


@dataclass(frozen=True)
class _Usable:
    file: _File
    sha256: str
    thumbnail: NDArray[np.float32] = field(repr=False, compare=False)


def scan(folder: Path, exclude: Sequence[Path] = (), workers: int | None = None, progress: bool = True) -> Dataset:
    """Check every file below the class folders, leave out unusable files, and split the images.

    Nothing is changed on disk. A file is accepted exactly when the service would accept it. Hidden files and files that
    operating systems leave behind (``Thumbs.db`` and the like) are ignored. Near-duplicates are kept, in one split.

    Args:
        folder: Holds one folder per class, or a single folder that does.
        exclude: Text files with one shell pattern a line (``Cat/3701``, ``Cat/37*``, ``*.gif``; case does not matter).
            Matching images and their byte-identical copies are left out.
        workers: Threads; decoding releases the interpreter's lock.
        progress: Show a progress bar on standard error.

    Raises:
        DataError: The folder cannot be read as a data set, or has too few images.
    """
    dataset = collect(folder, exclude, workers, progress)
    dataset.require_images()
    return dataset


def collect(folder: Path, exclude: Sequence[Path] = (), workers: int | None = None, progress: bool = True) -> Dataset:
    """Scan a folder as ``scan`` does, but accept any number of images."""
    root, folders = _class_folders(folder)
    description = read_description(folder) or Description(name=slug(folder.resolve().name))
    problems: list[Problem] = []
    files: list[_File] = []
    for label, top in enumerate(folders.values()):
        for path, error in walk(top):
            if error:
                problems.append(Problem(path, "unreadable", error))
            else:
                files.append(_File(path, path.relative_to(root).as_posix(), label))
    lists = excludes.read(exclude)
    named = _named_in(lists, files, folder)
    usable = []
    for file, checked in zip(files, _check_all(files, workers or os.cpu_count() or 1, progress), strict=True):
        if isinstance(checked, _Usable):
            usable.append(checked)
        elif file not in named:
            problems.append(checked)
    usable = _without_repeats(_without_excluded(usable, named, problems), problems)
    problems += [Problem(file.path, "excluded", f"named in {name}") for file, name in named.items()]
    images, groups, crowded = _split(sorted(usable, key=lambda one: (one.file.label, one.file.name)))
    return Dataset(
        name=description.name,
        source=description.source,
        synthetic=description.synthetic,
        classes=tuple(folders),
        images=images,
        problems=tuple(sorted(problems, key=lambda problem: problem.path)),
        fingerprint=fingerprint(images, tuple(folders)),
        lists=lists,
        near_duplicates=groups,
        crowded=crowded,
    )


def _class_folders(folder: Path) -> tuple[Path, dict[str, Path]]:
    """Find the folder of classes, and the folders by class name, sorted."""
    if folder.is_file():
        raise DataError(
            f"{folder} is a file: give the folder it unpacks to "
            "(.venv/bin/python -m ml.data download --url file:… unpacks one)."
        )
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}: give one that holds a folder of images for each class.")
    found = _folders(folder)
    if len(found) == 1 and len(inner := _folders(found[0])) > 1:
        folder, found = found[0], inner
    if not found:
        raise DataError(f"{folder} holds no folders: put the images of each class into a folder named as the class.")
    classes: dict[str, Path] = {}
    for path in found:
        # File systems differ in case and in how they compose accents; class names must not.
        name = unicodedata.normalize("NFC", path.name).lower()
        if not name.isprintable():
            raise DataError(f"The folder name {path.name!r} in {folder} is not text: rename it to the class's name.")
        if name in classes:
            raise DataError(
                f"The folders {classes[name].name} and {path.name} in {folder} would be one class: rename or merge one."
            )
        classes[name] = path
    if len(classes) < 2:
        raise DataError(f"{folder} holds one class ({next(iter(classes))}): a classifier needs two or more.")
    return folder, dict(sorted(classes.items()))


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not is_ignored(path.name))
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror}).") from error


def _named_in(lists: dict[str, str], files: list[_File], folder: Path) -> dict[_File, str]:
    """Find the files that a list names, each with the list's name."""
    found: dict[_File, str] = {}
    for name, text in lists.items():
        named = excludes.matcher(text)
        matching = [f for f in files if named(f.name) or named(f.path.relative_to(folder).as_posix())]
        if excludes.patterns(text) and not matching:
            raise DataError(f"No file matches a line of {name}: write one path (Cat/3701) or pattern (Cat/37*) a line.")
        found = dict.fromkeys(matching, name) | found
    return found


def _check_all(files: list[_File], workers: int, progress: bool) -> list[_Usable | Problem]:
    with warnings.catch_warnings(), ThreadPool(workers) as pool:
        # Pillow's warnings about odd metadata would tear the progress bar.
        warnings.filterwarnings("ignore", module="PIL")
        results = pool.imap(_check, files, chunksize=16)
        return list(tqdm(results, "scan", len(files), unit=" files", disable=not progress))


def _check(file: _File) -> _Usable | Problem:
    try:
        data, pixels = load(file.path, CHECK_SIZE, "stretch")
    except UnusableError as error:
        return Problem(file.path, error.reason, error.detail)
    return _Usable(file, hashlib.sha256(data).hexdigest(), thumbnail(pixels))


def _without_excluded(usable: list[_Usable], named: dict[_File, str], problems: list[Problem]) -> list[_Usable]:
    """Leave out named files and their copies: an excluded image must not come in under another name."""
    contents = {one.sha256: one.file.name for one in usable if one.file in named}
    kept = []
    for one in usable:
        if one.sha256 not in contents:
            kept.append(one)
        elif one.file not in named:
            problems.append(Problem(one.file.path, "excluded", f"same bytes as {contents[one.sha256]}"))
    return kept


def _without_repeats(usable: Iterable[_Usable], problems: list[Problem]) -> list[_Usable]:
    """Keep the first of byte-identical files, or none if they are in several classes."""
    by_content: dict[str, list[_Usable]] = defaultdict(list)
    for one in sorted(usable, key=lambda one: one.file.name):
        by_content[one.sha256].append(one)
    kept = []
    for first, *copies in by_content.values():
        if any(copy.file.label != first.file.label for copy in copies):
            for one in (first, *copies):
                others = ", ".join(other.file.name for other in (first, *copies) if other is not one)
                problems.append(Problem(one.file.path, "label conflict", f"same bytes as {others}"))
        else:
            kept.append(first)
            problems += [Problem(one.file.path, "duplicate", f"same bytes as {first.file.name}") for one in copies]
    return kept


def _split(usable: list[_Usable]) -> tuple[tuple[LabelledImage, ...], tuple[int, ...], int]:
    """Split images by content; near-duplicates stay together."""
    thumbnails = np.array([one.thumbnail for one in usable], np.float32).reshape(-1, SIDE, SIDE, 3)
    found, crowded = find_near_duplicates(thumbnails)
    together = {i: [usable[j] for j in group] for group in found for i in group}
    groups: dict[str, Group] = {}
    keys = []
    for i, one in enumerate(usable):
        members = together.get(i, [one])
        keys.append(min(member.sha256 for member in members))
        groups.setdefault(keys[-1], Group(keys[-1], frozenset(member.file.label for member in members)))
    splits = dict(zip(groups, assign(list(groups.values())), strict=True))
    images = (
        LabelledImage(one.file.path, one.file.label, one.sha256, splits[key], key)
        for one, key in zip(usable, keys, strict=True)
    )
    return tuple(images), tuple(len(group) for group in found), crowded

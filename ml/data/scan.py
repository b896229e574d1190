"""From a folder with one sub-folder per class to a checked data set."""

import hashlib
import os
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path

from tqdm import tqdm

from ml.data import exclude as excludes
from ml.data.dataset import DataError, Dataset, LabelledImage, Problem, fingerprint, split_of
from ml.data.files import UnusableError, load, passed_over, walk
from ml.data.folder import Description, read_description, slug

# Truncation shows at any size, since all of a file is decoded; a small one is the quickest.
CHECK_SIZE = 32


@dataclass(frozen=True)
class _File:
    path: Path
    name: str  # relative to the folder of classes, with forward slashes
    label: int


@dataclass(frozen=True)
class _Checked:
    file: _File
    sha256: str = ""
    problem: Problem | None = None


def scan(folder: Path, exclude: Sequence[Path] = (), workers: int | None = None, progress: bool = True) -> Dataset:
    """Check every file below the class folders, leave out what cannot be used, and split the rest.

    Nothing is changed on disk. A picture is accepted exactly when the service would accept it. Hidden files and what
    operating systems leave behind (``Thumbs.db`` and the like) are passed over.

    Args:
        folder: Holds one folder per class, or a single folder that does.
        exclude: Text files of pictures to keep out, one shell pattern a line (``Cat/3701``, ``Cat/37*``, ``*.gif``;
            case does not matter). Byte-identical copies of them are kept out too.
        workers: Threads; decoding leaves the interpreter's lock, so they run side by side.
        progress: Show a progress bar on standard error.

    Raises:
        DataError: The folder cannot be read as a data set, or has too few pictures.
    """
    dataset = collect(folder, exclude, workers, progress)
    dataset.require_pictures()
    return dataset


def collect(folder: Path, exclude: Sequence[Path] = (), workers: int | None = None, progress: bool = True) -> Dataset:
    """As ``scan``, but with however few pictures there are."""
    root, folders = _class_folders(folder)
    description = read_description(folder) or Description(name=slug(folder.resolve().name))
    classes = tuple(folders)
    unreadable: list[Problem] = []
    files = [file for label, name in enumerate(classes) for file in _walk(root, folders[name], label, unreadable)]
    lists = excludes.read(exclude)
    named = _named_in(lists, files, folder)
    checked = _check_all(files, workers or os.cpu_count() or 1, progress)
    checked, excluded = _without_excluded(checked, named)
    usable, repeated = _without_repeats([one for one in checked if one.problem is None])
    pictures = tuple(
        LabelledImage(one.file.path, one.file.label, one.sha256, split_of(one.sha256))
        for one in sorted(usable, key=lambda one: (one.file.label, one.file.name))
    )
    broken = [one.problem for one in checked if one.problem is not None]
    return Dataset(
        name=description.name,
        source=description.source,
        synthetic=description.synthetic,
        classes=classes,
        images=pictures,
        problems=tuple(sorted([*unreadable, *excluded, *broken, *repeated], key=lambda problem: problem.path)),
        fingerprint=fingerprint(pictures, classes),
        lists=lists,
    )


def _class_folders(folder: Path) -> tuple[Path, dict[str, Path]]:
    """The folder of classes, and the folders by class name, sorted."""
    if folder.is_file():
        raise DataError(
            f"{folder} is a file: give the folder it unpacks to "
            "(.venv/bin/python -m ml.data download --url file:… unpacks one)."
        )
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}: give one that holds a folder of pictures for each class.")
    found = _folders(folder)
    if len(found) == 1 and len(inner := _folders(found[0])) > 1:
        folder, found = found[0], inner
    if not found:
        raise DataError(f"{folder} holds no folders: put the pictures of each class into a folder named as the class.")
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
        raise DataError(f"{folder} holds one class ({next(iter(classes))}): two or more are needed to tell apart.")
    return folder, dict(sorted(classes.items()))


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not passed_over(path.name))
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror}).") from error


def _walk(root: Path, folder: Path, label: int, unreadable: list[Problem]) -> Iterator[_File]:
    for path, error in walk(folder):
        if error:
            unreadable.append(Problem(path, "unreadable", error))
        else:
            yield _File(path, path.relative_to(root).as_posix(), label)


def _named_in(lists: dict[str, str], files: list[_File], folder: Path) -> dict[_File, str]:
    """The files that a list names, each with the list's name."""
    found: dict[_File, str] = {}
    for name, text in lists.items():
        named = excludes.matcher(text)
        matching = [f for f in files if named(f.name) or named(f.path.relative_to(folder).as_posix())]
        if excludes.patterns(text) and not matching:
            raise DataError(f"No file matches a line of {name}: write one path (Cat/3701) or pattern (Cat/37*) a line.")
        found = dict.fromkeys(matching, name) | found
    return found


def _without_excluded(checked: list[_Checked], named: dict[_File, str]) -> tuple[list[_Checked], list[Problem]]:
    """A picture kept out under one name must not come in under another."""
    contents = {one.sha256: one.file.name for one in checked if one.file in named and one.sha256}
    kept, problems = [], []
    for one in checked:
        if one.file in named:
            problems.append(Problem(one.file.path, "excluded", f"named in {named[one.file]}"))
        elif one.sha256 in contents:
            problems.append(Problem(one.file.path, "excluded", f"same bytes as {contents[one.sha256]}"))
        else:
            kept.append(one)
    return kept, problems


def _check_all(files: list[_File], workers: int, progress: bool) -> list[_Checked]:
    with warnings.catch_warnings(), ThreadPool(workers) as pool:
        # A picture with odd metadata is still a picture; Pillow's remarks would tear the progress bar.
        warnings.filterwarnings("ignore", module="PIL")
        results = pool.imap(_check, files, chunksize=16)
        return list(tqdm(results, "scan", len(files), unit=" files", disable=not progress))


def _check(file: _File) -> _Checked:
    try:
        data, _ = load(file.path, CHECK_SIZE, "stretch")
    except UnusableError as error:
        return _Checked(file, problem=Problem(file.path, error.reason, error.detail))
    return _Checked(file, hashlib.sha256(data).hexdigest())


def _without_repeats(checked: Iterable[_Checked]) -> tuple[list[_Checked], list[Problem]]:
    by_content: dict[str, list[_Checked]] = defaultdict(list)
    for one in sorted(checked, key=lambda one: one.file.name):
        by_content[one.sha256].append(one)
    kept, problems = [], []
    for first, *copies in by_content.values():
        if any(copy.file.label != first.file.label for copy in copies):
            for one in (first, *copies):
                others = ", ".join(other.file.name for other in (first, *copies) if other is not one)
                problems.append(Problem(one.file.path, "label conflict", f"same bytes as {others}"))
        else:
            kept.append(first)
            problems += [Problem(one.file.path, "duplicate", f"same bytes as {first.file.name}") for one in copies]
    return kept, problems

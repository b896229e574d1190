"""Check the images of a data set, and split them."""

import hashlib
import os
import warnings
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

from tqdm import tqdm

from ml.data import exclude as excludes
from ml.data.dataset import DataError, Dataset, LabelledImage, Problem, fingerprint
from ml.data.duplicates.leave_out import CheckedFile, grouped, without_copies, without_excluded
from ml.data.duplicates.similar import thumbnail
from ml.data.files import UnusableError, load
from ml.data.folder import Description, read_description, slug
from ml.data.layout.listing import ListedFile, Listing
from ml.data.layout.read import read
from ml.data.split import Group, assign

# All of a file is decoded at any size, so truncation shows; a small size is the fastest.
CHECK_SIZE = 32


def scan(source: Path, exclude: Sequence[Path] = (), workers: int | None = None, progress: bool = True) -> Dataset:
    """Check every file of a data set, leave out unusable files, and split the images.

    Nothing in the data set is changed. A file is accepted exactly when the service would accept it. Hidden files and
    files that operating systems leave behind (``Thumbs.db`` and the like) are ignored. Near-duplicates are kept, in one
    split.

    Args:
        source: A folder, zip archive or CSV file, as ``ml.data.layout.read`` reads it.
        exclude: Text files with one shell pattern a line (``Cat/3701``, ``Cat/37*``, ``*.gif``; case does not matter).
            Matching images and their byte-identical copies are left out.
        workers: Threads; decoding releases the interpreter's lock.
        progress: Show a progress bar on standard error.

    Raises:
        DataError: The source cannot be read as a data set, or has too few images.
    """
    dataset = collect(source, exclude, workers, progress)
    dataset.require_images()
    return dataset


def collect(source: Path, exclude: Sequence[Path] = (), workers: int | None = None, progress: bool = True) -> Dataset:
    """Scan a data set as ``scan`` does, but accept any number of images."""
    listing = read(source, progress)
    description = read_description(listing.folder) or Description(name=slug(listing.folder.resolve().name))
    problems = [Problem(path, "unreadable", error) for path, error in listing.unreadable]
    lists = excludes.read(exclude)
    excluded = _named_in(lists, listing.files)
    checked = []
    results = _check_all(listing.files, workers or os.cpu_count() or 1, progress)
    for file, result in zip(listing.files, results, strict=True):
        if isinstance(result, CheckedFile):
            checked.append(result)
        elif file not in excluded:
            problems.append(result)
    checked = without_copies(without_excluded(checked, excluded, problems), problems)
    problems += [Problem(file.path, "excluded", f"named in {name}") for file, name in excluded.items()]
    groups, crowded = grouped(checked, problems)
    images = _split(groups, listing)
    return Dataset(
        name=description.name,
        source=description.source,
        synthetic=description.synthetic,
        classes=listing.classes,
        images=images,
        problems=tuple(sorted(problems, key=lambda problem: problem.path)),
        fingerprint=fingerprint(images, listing.classes, listing.given),
        lists=lists,
        near_duplicates=tuple(len(group) for group in groups if len(group) > 1),
        crowded=crowded,
        layout=listing.layout,
        given_splits=listing.given,
        notes=listing.notes,
    )


def _named_in(lists: dict[str, str], files: Sequence[ListedFile]) -> dict[ListedFile, str]:
    """Find the files that a list names, each with the list's name."""
    found: dict[ListedFile, str] = {}
    for name, text in lists.items():
        named = excludes.matcher(text)
        matching = [file for file in files if any(map(named, file.names))]
        if excludes.patterns(text) and not matching:
            raise DataError(f"No file matches a line of {name}: write one path (Cat/3701) or pattern (Cat/37*) a line.")
        found = dict.fromkeys(matching, name) | found
    return found


def _check_all(files: Sequence[ListedFile], workers: int, progress: bool) -> list[CheckedFile | Problem]:
    with warnings.catch_warnings(), ThreadPool(workers) as pool:
        # Pillow's warnings about odd metadata would tear the progress bar.
        warnings.filterwarnings("ignore", module="PIL")
        results = pool.imap(_check, files, chunksize=16)
        return list(tqdm(results, "scan", len(files), unit=" files", disable=not progress))


def _check(file: ListedFile) -> CheckedFile | Problem:
    try:
        data, pixels = load(file.path, CHECK_SIZE, "stretch")
    except UnusableError as error:
        return Problem(file.path, error.reason, error.detail)
    return CheckedFile(file, hashlib.sha256(data).hexdigest(), thumbnail(pixels))


def _split(groups: Sequence[Sequence[CheckedFile]], listing: Listing) -> tuple[LabelledImage, ...]:
    """Assign every group to a split, and sort the images by label and name."""
    labels = {name: label for label, name in enumerate(listing.classes)}
    keys = [min(one.sha256 for one in group) for group in groups]
    splits = assign(
        [
            Group(key, frozenset(labels[one.file.class_name] for one in group), group[0].file.split)
            for key, group in zip(keys, groups, strict=True)
        ],
        listing.given,
    )
    images = [
        (one.file.names[0], LabelledImage(one.file.path, labels[one.file.class_name], one.sha256, split, key))
        for key, split, group in zip(keys, splits, groups, strict=True)
        for one in group
    ]
    return tuple(image for _, image in sorted(images, key=lambda pair: (pair[1].label, pair[0])))

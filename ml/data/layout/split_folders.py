"""Read folders that are splits of one data set, such as ``train``, ``val`` and ``test``."""

from pathlib import Path

from ml.data.dataset import DataError
from ml.data.files import walk
from ml.data.layout.folders import Part, advice, enter, read_part, subfolders
from ml.data.layout.listing import Listing, joined, quoted
from ml.data.layout.names import class_name, split_named
from ml.data.split import SPLITS, Split


def are_splits(root: Path, found: list[Path]) -> bool:
    """Tell whether the folders in a folder are splits of one data set.

    Raises:
        DataError: They could be splits, or classes.
    """
    splits = [path for path in found if split_named(path.name)]
    others = [path for path in found if path not in splits]
    training = [path for path in splits if split_named(path.name) == "train"]
    if not splits or (not training and others and not _share_classes(splits[0], others)):
        return False
    names = quoted(path.name for path in found)
    if not training:
        raise DataError(
            f"{root} holds {names}, but no folder of training images: name it 'train', or give one folder alone, such "
            f"as {splits[0]}."
        )
    if not others:
        return True
    if same := _share_classes(training[0], others):
        raise DataError(
            f"{root} holds {training[0].name} and {same.name} with the same class folders, but {same.name} is the name "
            f"of no split: rename it to 'validation' or 'test', or give {training[0]}."
        )
    has_classes = read_part(enter(training[0]), ()) is not None
    if has_classes and len(splits) == 1:
        raise DataError(
            f"{root} holds {names}, which could be classes or splits: give {training[0]}, or move the others away."
        )
    return has_classes


def read_splits(folder: Path, root: Path, found: list[Path]) -> Listing:
    """Read the splits of one data set; a test folder without labels, as of a competition, is ignored.

    Args:
        folder: The folder that the user gave.
        root: Holds the splits; ``folder``, or below it.
        found: The folders in it.

    Raises:
        DataError: A split is there twice, has no labels, or has other classes than the training images.
    """
    parts: dict[Split, Part] = {}
    folders: dict[Split, Path] = {}
    notes: list[str] = []
    for path in sorted(found, key=lambda path: (split_named(path.name) != "train", path)):
        split = split_named(path.name)
        part = read_part(enter(path), (root, folder), split) if split else None
        if split is None:
            notes.append(f"{path} is ignored: it is neither a split nor a class.")
        elif part is None or (split != "train" and _is_unlabelled(part, parts["train"])):
            if split == "train":
                raise DataError(f"The images in {path} have no labels: {advice(root)}.")
            notes.append(f"{path} is ignored: its {sum(1 for _ in walk(path)):,} files have no labels.")
        elif split in parts:
            raise DataError(f"{folders[split]} and {path} are both the {split} split: merge them, or move one away.")
        else:
            parts[split], folders[split] = part, path
            _require_same_classes(part, path, parts["train"], folders["train"])
    given = tuple(split for split in SPLITS if split in parts)
    return Listing(
        folder=folder,
        layout=f"{joined(folders[split].name for split in given)}: {parts['train'].how}",
        classes=parts["train"].classes,
        files=tuple(file for split in given for file in parts[split].files),
        unreadable=tuple(error for split in given for error in parts[split].unreadable),
        given=given if len(given) > 1 else (),
        notes=tuple(note for split in given for note in parts[split].notes) + tuple(notes),
    )


def _share_classes(folder: Path, others: list[Path]) -> Path | None:
    """Return the first of the other folders with two class folders of the same names."""
    classes = {class_name(path.name) for path in subfolders(folder)}
    for other in others:
        if len(classes & {class_name(path.name) for path in subfolders(other)}) > 1:
            return other
    return None


def _is_unlabelled(part: Part, training: Part) -> bool:
    """Check for names that only look like classes: numbered files, or one folder around all images."""
    return not set(part.classes) & set(training.classes) and (len(part.classes) == 1 or part.by_names)


def _require_same_classes(part: Part, folder: Path, training: Part, training_folder: Path) -> None:
    here, there = set(part.classes), set(training.classes)
    for missing, lacks, has in ((there - here, folder, training_folder), (here - there, training_folder, folder)):
        if missing:
            raise DataError(
                f"{lacks} lacks the class {quoted(sorted(missing))}, which {has} has: all splits need the same classes."
            )

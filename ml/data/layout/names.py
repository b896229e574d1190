"""Read classes and splits out of the names of folders and files."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePath

from ml.data.split import Split

SPLIT_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "validate", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
FILLERS = {"", "data", "folder", "image", "images", "img", "imgs", "photos", "pictures", "samples", "seg", "split"}
SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".avif", ".heic", ".heif", ".tif"),
    *(".tiff", ".jp2", ".j2k", ".jpx"),
}
NUMBERED = re.compile(r"(?P<name>.*[^\s._-])[\s._-]+\(?\d+\)?|(?P<letters>[^\W\d_]+)\d+", re.DOTALL)
# Cameras, and programs that write one file after the other.
NO_CLASS = re.compile(
    r"(img|images?|dsc[nf]?|pxl|mvimg|photos?|pictures?|pics?|frames?|files?|screenshots?|snapshots?|scans?|untitled)?"
    r"[\W\d_]*|.*\d{5}.*",
    re.DOTALL,
)
MAX_NUMBERED_CLASS = 3  # digits


def class_name(text: str) -> str:
    """Normalise the name of a class: file systems differ in case and in how they compose accents."""
    return unicodedata.normalize("NFC", text).strip().lower()


def split_named(name: str) -> Split | None:
    """Return the split that a name such as ``train``, ``Test_set``, ``val2017`` or ``validation-images`` means."""
    words = [word.removesuffix("set") for word in re.findall("[a-z]+", name.lower())]
    found = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
    known = all(word in SPLIT_WORDS or word in FILLERS for word in words)
    return found.pop() if len(found) == 1 and known and name.isascii() else None


def is_image_name(name: str) -> bool:
    """Check for the extension of an image."""
    return PurePath(name).suffix.lower() in SUFFIXES


def class_in(name: str) -> str | None:
    """Return the class in a file name such as ``cat.12.jpg``, ``cat_12.jpg``, ``cat (12).jpg`` or ``cat12.jpg``."""
    found = NUMBERED.fullmatch(PurePath(name).stem)
    if not found:
        return None
    text = class_name(found["name"] or found["letters"])
    numbered = text.isdecimal() and len(text) <= MAX_NUMBERED_CLASS
    return text if text.isprintable() and (numbered or not NO_CLASS.fullmatch(text)) else None


def classes_in(names: Iterable[str]) -> dict[str, str] | None:
    """Return the class by file name; None if not every name has one, or if they look like no classes."""
    found = {name: class_in(name) for name in names}
    classes = {name: label for name, label in found.items() if label is not None}
    # Names of single files, such as a camera's, differ from file to file.
    return classes if len(classes) == len(found) and 2 * len(set(classes.values())) <= len(found) else None

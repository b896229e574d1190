"""Write bundle folders, without PyTorch."""

from pathlib import Path

from bundle.load import Bundle
from bundle.manifest import MANIFEST_FILE, MODEL_FILE
from bundle.signature import SIGNATURE_FILE
from ml.atomic import whole_file
from ml.export.model_card import CARD_FILE, render


def write(folder: Path, bundle: Bundle) -> None:
    """Write a bundle and its model card so that a reader never accepts a half-written one.

    Each file is replaced atomically, the manifest last. In between, the manifest's hash does not match the model, which
    every reader refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # A signature of the files before would only mislead.
    (folder / SIGNATURE_FILE).unlink(missing_ok=True)
    _write_file(folder / MODEL_FILE, bundle.model)
    if bundle.manifest.metrics:
        _write_file(folder / CARD_FILE, render(bundle.manifest).encode())
    else:
        (folder / CARD_FILE).unlink(missing_ok=True)
    _write_file(folder / MANIFEST_FILE, (bundle.manifest.model_dump_json(indent=2) + "\n").encode())


def _write_file(path: Path, content: bytes) -> None:
    with whole_file(path) as file:
        file.write(content)

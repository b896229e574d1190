"""Ways to damage a bundle, each with words of its refusal."""

import hashlib
import json

from tests import bundles


def truncate(folder):
    file = folder / "model.onnx"
    file.write_bytes(file.read_bytes()[:-100])


def change_byte(folder):
    file = folder / "model.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def copy_half(folder):
    """Put another bundle's model beside the old manifest."""
    other = bundles.write(folder.parent / "other", version="other", classes=["dark", "light"])
    (other / "model.onnx").replace(folder / "model.onnx")


def replace_model(folder):
    """Write a model that is none, with its right hash."""
    model = b"not a graph"
    (folder / "model.onnx").write_bytes(model)
    change(folder, model_sha256=hashlib.sha256(model).hexdigest())


def change(folder, **fields):
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


BAD = {
    "truncated": (truncate, "model.onnx: SHA-256 is"),
    "one byte changed": (change_byte, "model.onnx: SHA-256 is"),
    "half copied": (copy_half, "do not belong together"),
    "manifest not JSON": (lambda folder: (folder / "manifest.json").write_text('{"schema_version'), "is not JSON"),
    "other classes": (lambda folder: change(folder, classes=["a", "b", "c"]), "exported for the classes"),
    "newer schema": (lambda folder: change(folder, schema_version=2), "schema_version is 2"),
    "not ONNX": (replace_model, "not an ONNX graph"),
    "no model": (lambda folder: (folder / "model.onnx").unlink(), "model.onnx: cannot be read"),
}

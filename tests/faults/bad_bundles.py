"""Ways in which a bundle goes bad, each with words that its refusal must have."""

import hashlib
import json

from tests import bundles


def truncated(folder):
    file = folder / "model.onnx"
    file.write_bytes(file.read_bytes()[:-100])


def one_byte(folder):
    file = folder / "model.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def not_json(folder):
    (folder / "manifest.json").write_text('{"schema_version": 1, "name": "col')


def not_onnx(folder):
    """Whoever wrote it wrote its hash, too."""
    model = b"not a graph"
    (folder / "model.onnx").write_bytes(model)
    change(folder, model_sha256=hashlib.sha256(model).hexdigest())


def change(folder, **fields):
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def half_copied(folder):
    """The model is another bundle's already, the manifest is not yet."""
    other = bundles.write(folder.parent / "other", version="other", classes=["dark", "light"])
    (other / "model.onnx").replace(folder / "model.onnx")


WAYS = {
    "truncated": (truncated, "model.onnx: SHA-256 is"),
    "one byte changed": (one_byte, "model.onnx: SHA-256 is"),
    "half copied": (half_copied, "do not belong together"),
    "manifest not JSON": (not_json, "manifest.json: is not JSON"),
    "other classes": (lambda folder: change(folder, classes=["a", "b", "c"]), "exported for the classes"),
    "newer schema": (lambda folder: change(folder, schema_version=2), "schema_version is 2"),
    "not ONNX": (not_onnx, "not an ONNX graph"),
    "no model": (lambda folder: (folder / "model.onnx").unlink(), "model.onnx: cannot be read"),
}

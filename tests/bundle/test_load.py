import hashlib
import json

import pytest

from bundle import check
from bundle.files import BundleError
from bundle.load import load
from bundle.predictor import Predictor
from tests import bundles


def replace_model(folder, data, **manifest):
    (folder / "model.onnx").write_bytes(data)
    change(folder, **manifest)


def change(folder, **fields):
    manifest = json.loads((folder / "manifest.json").read_text()) | fields
    (folder / "manifest.json").write_text(json.dumps(manifest))


BAD = {
    "no folder": (lambda folder: folder.rename(folder.with_name("other")), "No such file"),
    "no model": (lambda folder: (folder / "model.onnx").unlink(), "model.onnx: cannot be read"),
    "damaged model": (lambda folder: replace_model(folder, b"?"), "SHA-256"),
    "no graph": (
        lambda folder: replace_model(folder, b"?", model_sha256=hashlib.sha256(b"?").hexdigest()),
        "not an ONNX graph",
    ),
    "damaged manifest": (lambda folder: (folder / "manifest.json").write_bytes(b"\xff{"), "is not JSON"),
    "other version": (lambda folder: change(folder, schema_version=2), "schema_version is 2"),
    "class named twice": (lambda folder: change(folder, classes=["a", "a", "b"]), "classes: .*twice"),
    "unknown resize": (lambda folder: change(folder, input={"size": 32, "resize": "fit"}), "input.resize: "),
    "other classes": (lambda folder: change(folder, classes=["a", "b", "c"]), "do not belong together"),
    "other size": (lambda folder: change(folder, input={"size": 64, "resize": "stretch"}), "64 × 64"),
    "edges that do not fit": (
        lambda folder: change(
            folder, reference={"predicted_classes": {}, "confidence_bins": [0.5], "confidence_shares": [0.5]}
        ),
        "one edge more",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_bundle_is_refused_with_one_sentence_by_load_or_check(tmp_path, capsys, name):
    spoil, words = BAD[name]
    folder = bundles.write(tmp_path / "model")
    spoil(folder)
    with pytest.raises(BundleError, match=words) as error:
        Predictor(load(folder))
    assert "\n" not in str(error.value)
    assert check.main([str(folder)]) == 1
    assert capsys.readouterr() == ("", f"{error.value}\n")


def test_check_refuses_a_model_that_cannot_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Predictor, "predict", lambda *_: 1 / 0)
    assert check.main([str(bundles.write(tmp_path, uncertainty=None))]) == 1
    assert "cannot be run (ZeroDivisionError" in capsys.readouterr().err


def test_bundle_may_be_newer_than_the_service(tmp_path):
    folder = bundles.write(tmp_path / "model", version="7")
    change(folder, colour="red", input={"size": load(folder).manifest.input.size, "resize": "stretch", "depth": 3})
    assert load(folder).manifest.version == "7"


def test_check_passes_a_good_bundle(tmp_path, capsys):
    assert check.main([str(bundles.write(tmp_path, name="pets", version="7"))]) == 0
    assert capsys.readouterr().out.endswith("can be served: pets 7\n")

"""``python -m ml.evaluate``."""

from unittest.mock import Mock

import pytest

from ml.data.scan import collect
from ml.evaluate import main
from tests import bundles
from tests.ml.conftest import draw

COLOURS = {"green": (30, 200, 30), "red": (200, 30, 30)}


@pytest.fixture
def arguments(tmp_path) -> list[str]:
    # The bundle's first class is red: every answer is wrong, and the command says so.
    folder = bundles.write(tmp_path / "bundle", classes=["green", "red"])
    return [str(folder), "--data", str(draw(tmp_path / "data", COLOURS, 40))]


def test_all_images_are_evaluated_but_the_excluded(arguments, tmp_path, capsys):
    (tmp_path / "exclude.txt").write_text("green/00*\n")
    for more, number in (((), 80), (("--exclude", str(tmp_path / "exclude.txt")), 70)):
        assert main([*arguments, *more]) == 0
        out = capsys.readouterr().out
        assert f"colours 1 on all images of {tmp_path / 'data'} (all):" in out
        assert f"images               {number}" in out and "accuracy             0.00%" in out


def test_split_is_evaluated_alone(arguments, capsys):
    assert main([*arguments, "--split", "test"]) == 0
    out = capsys.readouterr().out
    assert "colours 1 on the test split of" in out and "images               80" not in out


@pytest.mark.parametrize(("split", "warned"), [("all", True), ("train", True), ("test", False)])
def test_images_of_the_training_are_pointed_out(tmp_path, capsys, split, warned):
    data = draw(tmp_path / "data", COLOURS, 40)
    section = bundles.manifest_for(b"", ["green", "red"], 32)["dataset"]
    section["fingerprint"] = collect(data, progress=False).fingerprint
    folder = bundles.write(tmp_path / "bundle", classes=["green", "red"], dataset=section)
    assert main([str(folder), "--data", str(data), "--split", split]) == 0
    assert ("was trained on images of this data set" in capsys.readouterr().out) is warned


def test_empty_split_is_refused(tmp_path, capsys):
    data = draw(tmp_path / "few", COLOURS, 1, seed=2)
    arguments = [str(bundles.write(tmp_path / "bundle", classes=["green", "red"])), "--data", str(data), "--split"]
    assert main([*arguments, "all"]) == 0
    assert main([*arguments, "validation"]) == 2
    assert "has no images in its validation split: choose --split all." in capsys.readouterr().err
    (tmp_path / "list.txt").write_text("*\n")
    assert main([*arguments, "all", "--exclude", str(tmp_path / "list.txt")]) == 2
    assert "has no images that are not left out: `python -m ml.data scan`" in capsys.readouterr().err


def test_other_classes_and_damaged_bundles_are_refused(arguments, tmp_path, capsys):
    bundle, *data = arguments
    assert main([str(bundles.write(tmp_path / "other")), *data]) == 2
    err = capsys.readouterr().err
    assert "has the classes green, red, but the bundle has red, green, blue: name the sub-folders like these." in err
    (tmp_path / "bundle" / "model.onnx").write_bytes(b"other")
    for folder, reason in ((bundle, "model.onnx: SHA-256 is"), (str(tmp_path / "none"), "manifest.json: cannot be")):
        assert main([folder, *data]) == 2
        assert reason in capsys.readouterr().err


def test_ctrl_c_ends_without_a_traceback(arguments, monkeypatch, capsys):
    monkeypatch.setattr("ml.evaluate.evaluate", Mock(side_effect=KeyboardInterrupt))
    assert main(arguments) == 130
    assert capsys.readouterr().err.endswith("\nStopped.\n")

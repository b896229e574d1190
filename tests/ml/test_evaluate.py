"""``python -m ml.evaluate``."""

import pytest

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
        assert main([*arguments, "--split", "all", *more]) == 0
        out = capsys.readouterr().out
        assert "colours 1 on" in out and "(all)" in out
        assert f"images               {number}" in out and "accuracy             0.00%" in out


def test_empty_split_is_refused(tmp_path, capsys):
    data = draw(tmp_path / "few", COLOURS, 1, seed=2)
    arguments = [str(bundles.write(tmp_path / "bundle", classes=["green", "red"])), "--data", str(data), "--split"]
    assert main([*arguments, "all"]) == 0
    assert main([*arguments, "validation"]) == 2
    assert "has no images in its validation split: choose --split all." in capsys.readouterr().err


def test_other_classes_and_damaged_bundles_are_refused(arguments, tmp_path, capsys):
    bundle, *data = arguments
    assert main([str(bundles.write(tmp_path / "other")), *data]) == 2
    assert "has the classes green, red, but the bundle has red, green, blue." in capsys.readouterr().err
    (tmp_path / "bundle" / "model.onnx").write_bytes(b"other")
    for folder, reason in ((bundle, "model.onnx: SHA-256 is"), (str(tmp_path / "none"), "manifest.json: cannot be")):
        assert main([folder, *data]) == 2
        assert reason in capsys.readouterr().err

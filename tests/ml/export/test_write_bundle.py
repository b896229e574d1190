"""A bundle on disk is complete, or refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from bundle.files import BundleError
from bundle.load import Bundle, load
from ml.export.write_bundle import write
from tests import bundles


@pytest.fixture
def two(tmp_path) -> tuple[Bundle, Bundle]:
    """Two different bundles that can be served."""
    first = load(bundles.write(tmp_path / "a", classes=["red", "green"], version="1"))
    return first, load(bundles.write(tmp_path / "b", classes=["red", "green", "blue"], version="2"))


def test_write_then_load_gives_the_same_bundle(two, tmp_path):
    folder = tmp_path / "deep" / "bundle"
    for bundle in two:
        write(folder, bundle)
        assert load(folder) == bundle
        assert sorted(p.name for p in folder.iterdir()) == ["MODEL_CARD.md", "manifest.json", "model.onnx"]
        assert bundle.manifest.version in (folder / "MODEL_CARD.md").read_text()


def test_bundle_without_metrics_has_no_card(two, tmp_path):
    write(tmp_path / "bundle", two[0])
    write(tmp_path / "bundle", replace(two[1], manifest=two[1].manifest.model_copy(update={"metrics": None})))
    assert sorted(p.name for p in (tmp_path / "bundle").iterdir()) == ["manifest.json", "model.onnx"]


@pytest.mark.parametrize("files", [0, 1, 2])
def test_failed_write_leaves_the_old_or_a_refused_bundle(files, two, tmp_path, monkeypatch):
    old, new = two
    write(tmp_path / "bundle", old)
    replace_file, replaced = Path.replace, []

    def fail(self, target):
        if len(replaced) == files:
            raise OSError(28, "No space left on device")
        replaced.append(target)
        return replace_file(self, target)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(Path, "replace", fail)
        write(tmp_path / "bundle", new)
    assert len(replaced) == files
    if files:
        with pytest.raises(BundleError, match="do not belong together"):
            load(tmp_path / "bundle")
    else:
        assert load(tmp_path / "bundle") == old
    assert not list((tmp_path / "bundle").glob("*.tmp"))
    write(tmp_path / "bundle", new)
    assert load(tmp_path / "bundle") == new

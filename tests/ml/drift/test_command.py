"""python -m ml.drift on drawn images and a tiny bundle."""

from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from bundle.load import load
from bundle.signals import SIGNALS
from ml.drift.__main__ import main
from tests import bundles

RED, BLUE = (200, 60, 60), (60, 60, 200)


def images(folder, number, brightness=1.0, seed=0, colours=(RED, BLUE)):
    """Draw noisy images of the colours in turn, in a sub-folder for each."""
    random = np.random.default_rng(seed)
    for index in range(number):
        colour = np.array(colours[index % len(colours)]) * random.uniform(0.8, 1.2)
        pixels = (random.normal(colour, 20, (40, 40, 3)) * brightness).clip(0, 255).astype(np.uint8)
        place = folder / f"class-{index % len(colours)}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A bundle with the reference of 300 images."""
    folder = bundles.write(tmp_path_factory.mktemp("bundle"), metrics=None)
    known = images(tmp_path_factory.mktemp("known"), 300)
    assert main(["reference", str(known), "--model", str(folder)]) == 0
    return folder


@pytest.fixture
def compare(model, tmp_path, capsys):
    def run(folder, *options):
        status = main(["compare", str(folder), "--model", str(model), "--plot", str(tmp_path / "plot.png"), *options])
        return status, capsys.readouterr()

    return run


def test_reference_changes_nothing_but_the_reference(model, tmp_path):
    renewed, older = load(model), load(bundles.write(tmp_path, metrics=None))
    assert renewed.model == older.model
    assert renewed.manifest.model_copy(update={"reference": older.manifest.reference}) == older.manifest
    reference = renewed.manifest.reference
    assert reference.images == 300 and reference.uncertain is not None
    assert list(reference.signals) == list(SIGNALS)


def test_images_like_the_reference_do_not_drift(compare, tmp_path):
    status, printed = compare(images(tmp_path / "same", 100, seed=1))
    assert status == 0 and "No drift" in printed.out and "100 images" in printed.out
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_dark_images_drift_and_unusable_files_are_counted(compare, tmp_path):
    folder = images(tmp_path / "dark", 60, brightness=0.3, seed=2)
    (folder / "notes.txt").write_text("no image")
    status, printed = compare(folder)
    assert status == 1 and "Drift: brightness" in printed.out and "1 files were passed over" in printed.out


def test_few_images_are_named_few(compare, tmp_path):
    assert "Few images" in compare(images(tmp_path / "few", 4, seed=3))[1].out


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_folder_without_images_is_an_error(compare, tmp_path, name):
    (tmp_path / "empty").mkdir()
    status, printed = compare(tmp_path / name)
    assert status == 2 and name in printed.err and "Traceback" not in printed.err


def test_bundle_without_reference_is_an_error(tmp_path, capsys):
    older = bundles.write(tmp_path / "older")
    status = main(["compare", str(images(tmp_path / "same", 4)), "--model", str(older)])
    assert status == 2 and "ml.drift reference" in capsys.readouterr().err


def test_reference_of_a_split_leaves_out_the_others(tmp_path, capsys):
    folder = bundles.write(tmp_path / "bundle", metrics=None)
    data = images(tmp_path / "data", 120, seed=4)
    assert main(["reference", str(data), "--model", str(folder), "--split", "test"]) == 0
    assert 0 < load(folder).manifest.reference.images < 60


@pytest.mark.parametrize("split", ["all", "train"])
def test_reference_leaves_out_the_excluded(tmp_path, capsys, split):
    folder = bundles.write(tmp_path / "bundle", metrics=None)
    (tmp_path / "list.txt").write_text("class-1/*\n")
    data = str(images(tmp_path / "data", 40, seed=4))
    command = ["reference", data, "--model", str(folder), "--split", split, "--exclude", str(tmp_path / "list.txt")]
    assert main(command) == 0
    reference = load(folder).manifest.reference
    assert reference.images <= 20 and reference.predicted_classes["blue"] == 0


def test_reference_without_images_is_an_error(tmp_path, capsys):
    folder = bundles.write(tmp_path / "bundle", metrics=None)
    (tmp_path / "list.txt").write_text("*\n")
    command = ["reference", str(images(tmp_path / "data", 4)), "--model", str(folder)]
    assert main([*command, "--exclude", str(tmp_path / "list.txt")]) == 2
    assert "has no image" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["drift.txt", "drift"])
def test_plot_of_another_kind_is_refused_before_the_images_are_read(compare, tmp_path, capsys, name):
    with pytest.raises(SystemExit) as caught:
        compare(tmp_path, "--plot", name)
    assert caught.value.code == 2 and "end in .png, .svg or .pdf" in capsys.readouterr().err


def test_plot_is_saved_by_its_suffix(compare, tmp_path):
    assert compare(images(tmp_path / "same", 100, seed=1), "--plot", str(tmp_path / "drift.SVG"))[0] == 0
    assert "<svg" in (tmp_path / "drift.SVG").read_text()


def test_ctrl_c_ends_without_a_traceback(compare, tmp_path, monkeypatch):
    monkeypatch.setattr("ml.drift.__main__.answer_folder", Mock(side_effect=KeyboardInterrupt))
    status, printed = compare(tmp_path)
    assert status == 130 and printed.err == "\nStopped.\n"

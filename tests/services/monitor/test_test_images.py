"""Labelled images are found by content, below sub-folders, and what is passed over is said."""

import io
import os

import pytest
from PIL import Image

from bundle.preprocess import FORMATS
from services.monitor import check, test_images
from services.monitor.settings import Settings
from services.monitor.test_images import LABEL_NAMES, labelled
from tests import drawn_images
from tests.services.monitor import stubs

JPEG = drawn_images.plain(drawn_images.RED)


def write(path, content=JPEG):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def names(found):
    return sorted((image.label, image.path.name) for image in found.images)


@pytest.fixture
def cats():
    """The address of a service that answers "cat" to everything."""
    with stubs.serving(stubs.always(200, stubs.ANSWER)) as address:
        yield address


@pytest.mark.parametrize("kind", FORMATS)
def test_labelled_recognises_every_format_of_the_service(tmp_path, kind):
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, kind)
    write(tmp_path / "cat" / "photo", file.getvalue())
    assert names(labelled(tmp_path)) == [("cat", "photo")]


@pytest.mark.parametrize("name", ["a.jfif", "a.JFIF", "a.JPE", "a.jpg.txt", "a.größe", "a", "2024/a.jfif", "2024/05/a"])
def test_labelled_takes_images_of_any_name_and_depth(tmp_path, name):
    write(tmp_path / "cat" / name)
    write(tmp_path / "dog" / "1.jpg")
    found = labelled(tmp_path)
    assert {image.label for image in found.images} == {"cat", "dog"} and found.passed_over == []


def test_labelled_ignores_litter_and_enters_no_folder_twice(tmp_path):
    for name in ("a.jpg", ".hidden.jpg", "Thumbs.db", "@eaDir/thumb.jpg", "sub/.DS_Store", "sub/b.jpg"):
        write(tmp_path / "cat" / name)
    (tmp_path / "cat" / "sub" / "up").symlink_to(tmp_path / "cat", target_is_directory=True)
    found = labelled(tmp_path)
    assert names(found) == [("cat", "a.jpg"), ("cat", "b.jpg")] and found.passed_over == []


def test_run_passed_over_files_are_named_and_healthy(tmp_path, cats):
    for name in ("cat/a.jpg", "unlabelled.jpg"):
        write(tmp_path / name)
    for name in ("cat/notes.txt", "cat/sub/clip.mp4", "readme.txt"):
        write(tmp_path / name, b"no image")
    os.mkfifo(tmp_path / "cat" / "pipe")
    result = check.run(Settings(predict_url=cats, labelled_images=tmp_path))
    assert result.healthy and result.metrics["post_deploy_pictures"] == 1
    (note,) = result.problems
    assert "4 passed over" in note and "cat/notes.txt" in note


@pytest.mark.parametrize("file", ["notes.txt", None])
def test_run_class_without_an_image_is_unhealthy(tmp_path, cats, file):
    write(tmp_path / "cat" / "a.jpg")
    (tmp_path / "dog").mkdir()
    if file:
        write(tmp_path / "dog" / file, b"no image")
    result = check.run(Settings(predict_url=cats, labelled_images=tmp_path))
    assert not result.healthy and result.metrics["post_deploy_accuracy"] == 1
    assert result.problems[0] == "LABELLED_IMAGES has no image of dog."


def test_run_labels_match_classes_however_accents_are_composed(tmp_path):
    write(tmp_path / "Cafe\N{COMBINING ACUTE ACCENT}" / "1.jpg")
    answer = stubs.ANSWER | {"label": "café", "probabilities": {"café": 0.9, "strasse": 0.1}}
    with stubs.serving(stubs.always(200, answer)) as address:
        result = check.run(Settings(predict_url=address, labelled_images=tmp_path))
    assert result.metrics["post_deploy_recall_café"] == 1 and result.problems == []


def test_run_similar_classes_stay_apart(tmp_path, cats):
    for label in ("straße", "strasse", "c#", "c+"):
        write(tmp_path / label / "1.jpg")
    result = check.run(Settings(predict_url=cats, labelled_images=tmp_path))
    recalls = [name for name in result.metrics if name.startswith("post_deploy_recall_")]
    assert len(recalls) == 4 and set(result.classes.values()) == {"c#", "c+"}
    assert result.classes.keys() < set(recalls)


def test_labelled_reads_the_labels_of_codes(tmp_path):
    write(tmp_path / "label-000__1.jpg")
    write(tmp_path / "dog__1.jpg")
    write(tmp_path / LABEL_NAMES, b'{"label-000": "golden retriever"}')
    assert names(labelled(tmp_path)) == [("dog", "dog__1.jpg"), ("golden retriever", "label-000__1.jpg")]


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_labelled_damaged_label_names_are_reported(tmp_path, content):
    write(tmp_path / "label-000__1.jpg")
    write(tmp_path / LABEL_NAMES, content)
    with pytest.raises(test_images.TestImagesError, match=rf"{LABEL_NAMES} is damaged"):
        labelled(tmp_path)

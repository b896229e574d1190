"""python -m scripts.labelled_images: from a folder of pictures to a ConfigMap that the monitor reads."""

import base64
import io
import json
import re
import subprocess
import sys

import pytest
from PIL import Image

from tests import bundles, monitor, servers
from tests import drawn_images as pictures
from tests.services.inference.serving import service

COLOURS = {"red": pictures.RED, "green": pictures.GREEN, "blue": pictures.BLUE}


@pytest.fixture
def bundle(tmp_path):
    return bundles.write(tmp_path / "bundle")


@pytest.fixture
def folder(tmp_path):
    """Ten red, eight green and seven blue pictures, some with names that no key may have."""
    for (label, colour), count in zip(COLOURS.items(), (10, 8, 7), strict=True):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for number in range(count):
            path = tmp_path / "pictures" / label / f"größer {number} (1)__.png"
            path.write_bytes(pictures.plain(colour, "PNG"))
    return tmp_path / "pictures"


def made(folder, bundle, *arguments):
    command = [sys.executable, "-m", "scripts.labelled_images", str(folder), *arguments, "--bundle", str(bundle)]
    done = subprocess.run(command, cwd=servers.ROOT, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def values(text):
    return {key: base64.b64decode(value) for key, value in json.loads(text)["binaryData"].items()}


def test_each_class_alike_the_same_ones_every_time_and_under_legal_keys(folder, bundle):
    code, text, said = made(folder, bundle, "20")
    assert code == 0, said
    assert said == "18 pictures, 6 of each class\n"
    assert json.loads(text)["metadata"] == {"name": "labelled-images", "namespace": "monitoring"}
    keys = list(values(text))
    assert [sum(key.startswith(f"{label}__") for key in keys) for label in COLOURS] == [6, 6, 6]
    assert all(re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key) for key in keys)
    assert made(folder, bundle, "20")[1] == text


def test_twenty_pictures_unless_told(folder, bundle):
    assert made(folder, bundle)[1] == made(folder, bundle, "20")[1]


def test_no_class_has_more_than_the_smallest(folder, bundle):
    assert made(folder, bundle, "300")[2] == "21 pictures, 7 of each class\n"


def test_pictures_are_picked_from_all_over_the_folder(folder, bundle):
    for number, path in enumerate(sorted((folder / "red").iterdir())):
        path.write_bytes(pictures.plain((200, number, number), "PNG"))
    text = made(folder, bundle, "15")[1]
    reds = [value for key, value in values(text).items() if key.startswith("red__")]
    assert [Image.open(io.BytesIO(red)).getpixel((0, 0))[1] for red in reds] == [0, 2, 4, 6, 8]


def test_what_fits_is_left_as_it_is(folder, bundle):
    assert set(values(made(folder, bundle, "21")[1]).values()) == {
        pictures.plain(colour, "PNG") for colour in COLOURS.values()
    }


def test_large_pictures_are_scaled_down_until_all_fit_and_it_is_said(folder, bundle):
    small = pictures.plain(pictures.GREEN, "PNG")
    for label in ("red", "blue"):
        for number, path in enumerate(sorted((folder / label).iterdir())):
            path.write_bytes(pictures.noise("PNG", (600, 400), seed=number))
    code, text, said = made(folder, bundle, "21")
    assert code == 0, said
    assert said == "21 pictures, 7 of each class, 14 of them scaled down\n"
    found = values(text)
    assert 500_000 < sum(map(len, found.values())) < 2**20
    assert [value for key, value in found.items() if key.startswith("green__")] == [small] * 7
    for key, value in found.items():
        with Image.open(io.BytesIO(value)) as image:
            width, height = image.size
        assert key.endswith(".png" if value == small else ".jpg")
        assert value == small or abs(width / height - 1.5) < 0.02


def test_a_picture_that_is_scaled_keeps_its_orientation_and_is_laid_on_white(folder, bundle):
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = 6
    turned = Image.effect_noise((600, 400), 200).convert("RGB")
    for path in (folder / "red").iterdir():
        path.write_bytes(pictures.encode(turned, "PNG", exif=exif))
    clear = turned.convert("RGBA")
    clear.putalpha(0)
    for path in (folder / "blue").iterdir():
        path.write_bytes(pictures.encode(clear, "PNG"))
    found = values(made(folder, bundle, "21")[1])
    for key, value in found.items():
        with Image.open(io.BytesIO(value)) as image:
            if key.startswith("red__"):
                assert image.height > image.width
            if key.startswith("blue__"):
                assert image.getpixel((10, 10)) == (255, 255, 255)


def test_the_monitor_reads_them_and_the_service_knows_them(folder, bundle, tmp_path):
    mounted = tmp_path / "labelled"
    mounted.mkdir()
    for key, value in values(made(folder, bundle, "20")[1]).items():
        (mounted / key).write_bytes(value)
    with service(tmp_path, MODEL_DIR=bundle, WORKERS=1) as running:
        running.wait_for_workers(1)
        settings = {"PREDICT_URL": running.address, "LABELLED_IMAGES": str(mounted), "TRACKING_TIMEOUT": "1"}
        settings |= {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{servers.free_port()}", "SPOOL_DIR": str(tmp_path / "s")}
        done = monitor.run(**settings)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads(done.stdout)["metrics"]
    assert metrics["post_deploy_pictures"] == 18
    assert metrics["post_deploy_accuracy"] == 1.0


def assert_refused(folder, bundle, *arguments):
    code, text, said = made(folder, bundle, *arguments)
    assert code == 2
    assert text == ""
    assert len(said.splitlines()) == 1
    return said


def test_labels_that_the_model_does_not_answer_are_named(folder, bundle):
    (folder / "red").rename(folder / "rosso")
    assert "pictures of blue, green, rosso, but the model answers blue, green, red" in assert_refused(folder, bundle)


@pytest.mark.parametrize("label", ["tabby cat", "Kätzchen", "cat__tabby", "cat_"])
def test_labels_that_no_key_may_hold_are_named(folder, tmp_path, label):
    bundle = bundles.write(tmp_path / "bundle", [label, "green", "blue"])
    (folder / "red").rename(folder / label)
    assert f"cannot hold pictures of {label.casefold()}:" in assert_refused(folder, bundle)


@pytest.mark.parametrize("number", ["2", "0", "-5"])
def test_less_than_one_of_each_class_is_refused(folder, bundle, number):
    assert "less than one for each of blue, green, red" in assert_refused(folder, bundle, number)


def test_a_file_that_the_service_would_refuse_is_named(folder, bundle):
    for path in (folder / "red").iterdir():
        path.write_bytes(b"not a picture")
    said = assert_refused(folder, bundle)
    assert "red" in said and "not a picture of an accepted kind" in said


def test_more_than_a_config_map_holds_is_refused(folder, bundle):
    for label in COLOURS:
        for number in range(60):
            (folder / label / f"{number}.png").write_bytes(pictures.noise("PNG", (128, 128), seed=number))
    assert "180 pictures do not fit into a ConfigMap, which holds 1 MiB" in assert_refused(folder, bundle, "180")


@pytest.mark.parametrize(("name", "named"), [("none", "No such file"), ("bundle", "no labelled picture")])
def test_a_folder_without_pictures_is_named(tmp_path, bundle, name, named):
    assert named in assert_refused(tmp_path / name, bundle)

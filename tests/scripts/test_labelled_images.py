"""scripts.labelled_images: from a folder of images to a ConfigMap that the monitor reads."""

import base64
import io
import json
import re
import unicodedata

import numpy as np
import pytest
from PIL import Image, ImageStat

from scripts import labelled_images
from services.monitor import test_images
from services.monitor.result import class_name
from tests import bundles, monitor, servers
from tests import drawn_images as drawn
from tests.services.inference.serving import service

COLOURS = {"red": drawn.RED, "green": drawn.GREEN, "blue": drawn.BLUE}


@pytest.fixture
def bundle(tmp_path):
    return bundles.write(tmp_path / "bundle")


@pytest.fixture
def folder(tmp_path):
    """Ten red, eight green and seven blue images, with names that are not allowed in keys."""
    for (label, colour), count in zip(COLOURS.items(), (10, 8, 7), strict=True):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(count):
            path = tmp_path / "images" / label / f"größer {number} (1)__.png"
            path.write_bytes(drawn.plain(colour, "PNG"))
    return tmp_path / "images"


@pytest.fixture
def make(folder, bundle, capsys):
    """Run the command; return its exit code, the ConfigMap and the messages."""

    def run(*arguments, folder=folder, bundle=bundle):
        code = labelled_images.main([str(folder), *arguments, "--bundle", str(bundle)])
        return code, *capsys.readouterr()

    return run


def values(text):
    return {key: base64.b64decode(value) for key, value in json.loads(text)["binaryData"].items()}


def opened(content):
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return image


def test_classes_have_equal_shares_under_legal_keys(make):
    code, text, said = make("20")
    assert (code, said) == (0, "18 images, 6 of each class\n")
    assert json.loads(text)["metadata"] == {"name": "labelled-images", "namespace": "monitoring"}
    keys = list(values(text))
    assert [sum(key.startswith(f"{label}__") for key in keys) for label in COLOURS] == [6, 6, 6]
    assert all(re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key) for key in keys)
    assert make()[1] == text, "20 is the default"
    assert make("300")[2] == "21 images, 7 of each class\n"


def test_images_are_chosen_from_the_whole_folder(folder, make):
    for number, path in enumerate(sorted((folder / "red").iterdir())):
        path.write_bytes(drawn.plain((200, number, number), "PNG"))
    reds = [value for key, value in values(make("15")[1]).items() if key.startswith("red__")]
    assert [opened(red).getpixel((0, 0))[1] for red in reds] == [0, 2, 4, 6, 8]


def test_large_images_are_scaled_down_until_all_fit(folder, make):
    small = drawn.plain(drawn.GREEN, "PNG")
    for label in ("red", "blue"):
        for number, path in enumerate(sorted((folder / label).iterdir())):
            path.write_bytes(drawn.noise("PNG", (600, 400), seed=number))
    code, text, said = make("21")
    assert (code, said) == (0, "21 images, 7 of each class, 14 of them scaled down\n")
    found = values(text)
    assert 500_000 < sum(map(len, found.values())) < 2**20
    assert [value for key, value in found.items() if key.startswith("green__")] == [small] * 7
    for key, value in found.items():
        width, height = opened(value).size
        assert key.endswith(".png" if value == small else ".jpg")
        assert value == small or abs(width / height - 1.5) < 0.02


def test_scaled_image_keeps_its_orientation_and_is_laid_on_white(folder, make):
    exif = Image.Exif()
    exif[drawn.ORIENTATION] = 6
    turned = Image.effect_noise((600, 400), 200).convert("RGB")
    clear = turned.convert("RGBA")
    clear.putalpha(0)
    contents = {"red": drawn.encode(turned, "PNG", exif=exif), "blue": drawn.encode(clear, "PNG")}
    for label, content in contents.items():
        for path in (folder / label).iterdir():
            path.write_bytes(content)
    found = {key: opened(value) for key, value in values(make("21")[1]).items()}
    assert all(image.height > image.width for key, image in found.items() if key.startswith("red__"))
    blues = [image for key, image in found.items() if key.startswith("blue__")]
    assert [image.getpixel((10, 10)) for image in blues] == [(255, 255, 255)] * 7


def test_images_that_only_the_service_reads_are_scaled_down_as_it_reads_them(folder, make):
    deep = Image.fromarray(np.random.default_rng(0).integers(0, 2**16, (600, 400), np.uint16))
    contents = {"red": drawn.encode(deep, "PNG"), "blue": drawn.noise("JPEG", (2000, 1500))[:-2]}
    for label, content in contents.items():
        for path in (folder / label).iterdir():
            path.write_bytes(content)
    found = {key: opened(value).convert("L") for key, value in values(make("21")[1]).items()}
    reds = [image for key, image in found.items() if key.startswith("red__")]
    assert [abs(ImageStat.Stat(image).mean[0] - 128) < 10 for image in reds] == [True] * 7
    assert sum(key.startswith("blue__") for key in found) == 7


def test_monitor_reads_them_and_the_service_knows_them(make, bundle, tmp_path):
    mounted = mount(tmp_path, make("20")[1])
    with service(tmp_path, MODEL_DIR=bundle, WORKERS=1) as running:
        running.wait_for_workers(1)
        settings = {"PREDICT_URL": running.address, "LABELLED_IMAGES": str(mounted), "TRACKING_TIMEOUT": "1"}
        settings |= {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{servers.free_port()}", "SPOOL_DIR": str(tmp_path / "s")}
        done = monitor.run(**settings)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads(done.stdout)["metrics"]
    assert metrics["post_deploy_pictures"] == 18
    assert metrics["post_deploy_accuracy"] == 1.0


def assert_refused(result, *named):
    code, text, said = result
    assert (code, text, len(said.splitlines())) == (2, "", 1)
    assert all(text in said for text in named), said


def test_labels_that_the_model_does_not_know_are_named(folder, make):
    (folder / "red").rename(folder / "rosso")
    assert_refused(make(), "images of blue, green, rosso, but the model predicts blue, green, red")


LABELS = [
    ["golden retriever", "café", "猫"],
    ["cat__tabby", "cat_", "cat"],
    ["label-000", "label-001", "naïve"],
    ["straße", "strasse", "x" * 120],
    ["Мои кошки", "собаки", 'a "quoted" #1'],
]


@pytest.mark.parametrize("labels", LABELS, ids=lambda labels: labels[0])
def test_labels_that_are_not_allowed_in_keys_are_read_back(folder, make, tmp_path, labels):
    for colour, label in zip(COLOURS, labels, strict=True):
        # macOS may store accents apart from their letters.
        (folder / colour).rename(folder / unicodedata.normalize("NFD", label))
    code, text, said = make("18", bundle=bundles.write(tmp_path / "bundle", [label.lower() for label in labels]))
    assert (code, said) == (0, "18 images, 6 of each class\n")
    assert all(re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key) for key in values(text) | json.loads(text)["data"])
    found = test_images.labelled(mount(tmp_path, text)).images
    by_label = {class_name(image.label): [] for image in found}
    for image in found:
        by_label[class_name(image.label)].append(opened(image.path.read_bytes()).getpixel((0, 0)))
    assert by_label == {label.lower(): [colour] * 6 for label, colour in zip(labels, COLOURS.values(), strict=True)}


def mount(tmp_path, text):
    """Write a ConfigMap's values as Kubernetes mounts them."""
    (tmp_path / "mounted").mkdir()
    for key, value in values(text).items():
        (tmp_path / "mounted" / key).write_bytes(value)
    for key, value in json.loads(text).get("data", {}).items():
        (tmp_path / "mounted" / key).write_text(value, encoding="utf-8")
    return tmp_path / "mounted"


def test_images_under_any_name_are_taken_and_other_files_named(folder, make, tmp_path):
    deep = folder / "red" / "2026" / "май"
    deep.mkdir(parents=True)
    for number, path in enumerate(sorted((folder / "red").glob("*.png"))):
        path.rename(deep / f"{number}.größe")
    (folder / "red" / "notes.txt").write_text("not an image")
    code, text, said = make("6")
    assert (code, said.splitlines()[-1]) == (0, "6 images, 2 of each class")
    assert "1 passed over, not an image or without a label (red/notes.txt)." in said
    assert [key for key in values(text) if key.startswith("red__")] == ["red__004-0.png", "red__005-5.png"]


@pytest.mark.parametrize("number", ["2", "0", "-5"])
def test_less_than_one_of_each_class_is_refused(make, number):
    assert_refused(make(number), "less than one for each of blue, green, red")


def test_file_that_the_service_would_refuse_is_named(folder, make):
    for path in (folder / "red").iterdir():
        path.write_bytes(b"not an image")
    assert_refused(make(), "red", "cannot be used")


def test_images_that_do_not_fit_are_refused(folder, make):
    for label in COLOURS:
        for number in range(60):
            (folder / label / f"{number}.png").write_bytes(drawn.noise("PNG", (128, 128), seed=number))
    assert_refused(make("180"), "180 images do not fit into a ConfigMap")


@pytest.mark.parametrize("name", ["none", "bundle"])
def test_folder_without_images_is_named(tmp_path, make, name):
    assert_refused(make(folder=tmp_path / name), str(tmp_path / name))

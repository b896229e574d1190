"""The summary, CSV, removal and "Why?" on the page, in a real browser."""

import csv
import io

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.by import By

from ml.batch.csv_file import columns
from services.inference.occlusion import SIDE
from tests import bundles
from tests import drawn_images as images
from tests.drawn_images import RED
from tests.services.inference.routes.steps import PHONE, button, cards, choose, opened, text, wait_for
from tests.services.inference.serving import service

# Keeps what would be saved as a file.
SAVED = """
const create = URL.createObjectURL;
URL.createObjectURL = (blob) => {
  if (blob.type === "text/csv") blob.text().then((text) => { window.saved = text; });
  return create(blob);
};
"""
MIDDLE_ROW = """
const canvas = arguments[0];
return [...canvas.getContext("2d").getImageData(0, canvas.height / 2, canvas.width, 1).data];
"""


@pytest.fixture
def mixed(browser, shared, files, tmp_path):
    """A page with a red and a green image, an uncertain one with a comma in its name, and a text."""
    (tmp_path / "grey, dull.png").write_bytes(images.plain((90, 90, 90), "PNG"))
    with opened(browser, shared, "/", complaints=1) as page:  # the browser itself notes the 415
        choose(page, files["red.jpg"], files["green.png"], tmp_path / "grey, dull.png", files["notes.jpg"])
        cards(page, 4)
        yield page


def test_summary_counts_the_answers(mixed, files):
    assert text(mixed, "#counts") == "4 images: 1 green, 1 red, 1 uncertain, 1 failed"
    choose(mixed, files["green.png"])
    cards(mixed, 5)
    assert text(mixed, "#counts") == "5 images: 2 green, 1 red, 1 uncertain, 1 failed"


def test_csv_has_the_columns_of_a_scored_folder_and_every_answer(mixed):
    wrong = button(mixed, "Mark as wrong: green.png")
    wrong.click()
    assert wrong.get_attribute("aria-pressed") == "true"
    mixed.execute_script(SAVED)
    button(mixed, "Save as CSV").click()
    saved = wait_for(mixed, lambda page: page.execute_script("return window.saved"))
    rows = list(csv.DictReader(io.StringIO(saved, newline="")))
    assert set(rows[0]) == {*columns(bundles.CLASSES), "marked_wrong"}
    assert [row["path"] for row in rows] == ["notes.jpg", "grey, dull.png", "green.png", "red.jpg"]
    assert [row["label"] for row in rows[2:]] == ["green", "red"]
    assert [row["uncertain"] for row in rows] == ["", "true", "false", "false"]
    assert [row["marked_wrong"] for row in rows] == ["", "false", "true", "false"]
    assert rows[0]["error"].startswith("Not an image of an accepted format.")
    assert float(rows[3]["probability_red"]) == float(rows[3]["confidence"]) > 0.9


def test_clear_removes_all_answers(mixed, files):
    button(mixed, "Clear").click()
    assert not mixed.find_elements(By.CSS_SELECTOR, ".card")
    assert not mixed.find_element(By.ID, "summary").is_displayed()
    choose(mixed, files["red.jpg"])
    cards(mixed, 1)
    assert text(mixed, "#counts") == "1 image: 1 red"


def test_removed_image_is_no_longer_counted_and_the_next_gets_the_focus(mixed):
    button(mixed, "Remove grey, dull.png").click()
    assert text(mixed, "#counts") == "3 images: 1 green, 1 red, 1 failed"
    assert mixed.switch_to.active_element.accessible_name == "Remove green.png"
    for name in ("green.png", "red.jpg", "notes.jpg"):
        button(mixed, f"Remove {name}").click()
    assert not mixed.find_element(By.ID, "summary").is_displayed()
    assert mixed.switch_to.active_element.get_attribute("id") == "file"


def test_removal_covers_no_text_on_a_phone(mixed):
    mixed.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    try:
        for card in mixed.find_elements(By.CSS_SELECTOR, ".card"):
            remove, label = (card.find_element(By.CSS_SELECTOR, name).rect for name in (".remove", ".label"))
            assert remove["y"] + remove["height"] <= label["y"]
    finally:
        mixed.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


# The answer to the second image never comes.
STALL = """
const send = window.fetch;
let calls = 0;
window.fetch = (...parts) => (++calls === 2 ? new Promise(() => {}) : send(...parts));
"""


def test_summary_tells_how_many_images_wait(page, files):
    page.execute_script(STALL)
    choose(page, files["red.jpg"], files["green.png"])
    cards(page, 1)
    wait_for(page, lambda _: text(page, "#counts") == "1 of 2 images: 1 red")
    button(page, "Remove green.png").click()
    assert text(page, "#counts") == "1 image: 1 red"


def half_red(path, size):
    """Draw an image whose left half is red."""
    image = Image.new("RGB", size, (40, 40, 40))
    image.paste(RED, (0, 0, size[0] // 2, size[1]))
    path.write_bytes(images.encode(image))
    return path


def explain(page, count=1):
    for one in page.find_elements(By.CSS_SELECTOR, ".card:not(.problem) .tools button:first-child"):
        one.click()
    wait_for(page, lambda _: len(page.find_elements(By.CSS_SELECTOR, ".card.explained")) == count)
    return page.find_elements(By.CSS_SELECTOR, ".card")


def test_why_shows_a_map_and_how_to_read_it(page, tmp_path):
    choose(page, half_red(tmp_path / "half.png", (120, 90)))
    cards(page, 1)
    (card,) = explain(page)
    canvas, image = card.find_element(By.TAG_NAME, "canvas"), card.find_element(By.TAG_NAME, "img")
    row = np.reshape(page.execute_script(MIDDLE_ROW, canvas), (-1, 4))[:, :3].sum(1)
    assert row[len(row) // (2 * SIDE)] > 3 * row[-20]
    assert canvas.rect == pytest.approx(image.rect, abs=1)
    assert canvas.accessible_name.startswith("Heat map, brightest at the ")
    reason = text(page, ".reason")
    assert reason.startswith("The answer depends most on the brightest part: with it covered, the model gives red ")
    assert reason in text(page, "[role=status]") or not page.find_element(By.ID, "status").is_displayed()
    why = button(page, "Why? half.png")
    for shown in (False, True):  # the map is kept
        why.click()
        assert canvas.is_displayed() is shown
        assert why.get_attribute("aria-expanded") == str(shown).lower()
        assert card.find_element(By.CSS_SELECTOR, ".reason").is_displayed() is shown


def test_why_covers_the_square_that_the_model_sees(browser, tmp_path):
    cropped = bundles.write(tmp_path / "model", input={"size": bundles.SIZE, "resize": "center-crop"})
    with service(tmp_path, MODEL_DIR=cropped, WORKERS=1) as running, opened(browser, running, "/") as page:
        choose(page, half_red(tmp_path / "wide.png", (200, 100)))
        cards(page, 1)
        (card,) = explain(page)
        canvas, image = (card.find_element(By.TAG_NAME, name).rect for name in ("canvas", "img"))
        assert canvas["width"] == pytest.approx(canvas["height"], abs=1)
        assert canvas["height"] == pytest.approx(image["height"], abs=1)
        middles = [rect["x"] + rect["width"] / 2 for rect in (canvas, image)]
        assert middles[0] == pytest.approx(middles[1], abs=1)
        assert text(page, ".reason").endswith("The model sees the square in the middle only.")


def test_why_of_an_uncertain_answer_says_so(page, files):
    files["red.jpg"].write_bytes(images.plain((90, 90, 90)))
    choose(page, files["red.jpg"])
    cards(page, 1)
    explain(page)
    assert text(page, ".reason").startswith("The answer is uncertain. ")


REFUSE = """
const send = window.fetch;
const refused = Response.json({ title: "Too many requests", detail: "More than 1/day." }, { status: 429 });
window.fetch = async (address, options) => (address.endsWith("/explain") ? refused : send(address, options));
"""


def test_why_that_is_refused_names_the_problem(page, files):
    page.execute_script(REFUSE)
    choose(page, files["red.jpg"])
    cards(page, 1)
    why = button(page, "Why?")
    why.click()
    reason = wait_for(page, lambda _: text(page, ".reason"))
    assert reason == "Too many requests. More than 1/day."
    assert why.is_enabled() and not page.find_element(By.TAG_NAME, "canvas").is_displayed()

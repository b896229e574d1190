"""The page and /docs in a real browser."""

import base64
from urllib.parse import urlsplit

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests import bundles
from tests import drawn_images as images
from tests.drawn_images import BLUE, GREEN, RED
from tests.services.inference.routes.steps import PHONE, cards, choose, opened
from tests.services.inference.serving import service

# A file made in the page, handed over by the event that a person's mouse or keyboard would cause.
HAND_OVER = """
const bytes = Uint8Array.from(atob(arguments[1]), (character) => character.charCodeAt(0));
const transfer = new DataTransfer();
transfer.items.add(new File([bytes], "given.png", { type: "image/png" }));
const init = { bubbles: true, cancelable: true, dataTransfer: transfer, clipboardData: transfer };
const make = { drop: () => new DragEvent("drop", init), paste: () => new ClipboardEvent("paste", init) };
document.body.dispatchEvent(make[arguments[0]]());
"""


def test_chosen_image_is_shown_with_its_label_and_a_bar_per_class(page, files):
    choose(page, files["red.jpg"])
    [(name, label, bars)] = cards(page, 1)
    assert (name, label) == ("red.jpg", "red")
    assert {bar[0] for bar in bars} == {"red", "green", "blue"}
    assert bars[0][0] == "red"
    assert sum(float(bar[1].removesuffix(" %")) for bar in bars) == pytest.approx(100, abs=0.2)
    widths = [fill.rect["width"] for fill in page.find_elements(By.CSS_SELECTOR, ".fill")]
    assert widths[0] > 100 > 10 > widths[1]
    image = page.find_element(By.CSS_SELECTOR, ".card img")
    assert page.execute_script("return arguments[0].naturalWidth", image) == images.SIDE
    assert image.get_attribute("alt") == "red.jpg: red"
    assert page.find_element(By.CSS_SELECTOR, "[role=status]").text == "red.jpg: red, " + bars[0][1]


def test_several_images_and_the_same_one_again(page, files):
    choose(page, files["red.jpg"], files["green.png"])
    assert [card[:2] for card in cards(page, 2)] == [("green.png", "green"), ("red.jpg", "red")]
    choose(page, files["red.jpg"])
    assert [card[1] for card in cards(page, 3)] == ["red", "green", "red"]


def test_uncertain_answer_is_the_headline(page, files):
    choose(page, files["red.jpg"])
    assert [card[1] for card in cards(page, 1)] == ["red"]
    assert not page.find_element(By.CSS_SELECTOR, ".note").is_displayed()
    files["notes.jpg"].write_bytes(images.plain((90, 90, 90)))
    choose(page, files["notes.jpg"])
    assert [card[1] for card in cards(page, 2)] == ["Uncertain", "red"]
    (note,) = [note.text for note in page.find_elements(By.CSS_SELECTOR, ".note") if note.is_displayed()]
    assert note.startswith("Perhaps ")
    assert ": Uncertain. Perhaps " in page.find_element(By.CSS_SELECTOR, "[role=status]").text


def colour(page, selector):
    return page.find_element(By.CSS_SELECTOR, selector).value_of_css_property("color")


def test_only_errors_and_doubts_have_the_colour_of_errors(browser, shared, files):
    with opened(browser, shared, "/", complaints=1) as page:  # the browser itself notes the 415
        choose(page, files["red.jpg"])
        cards(page, 1)
        usual = {colour(page, selector) for selector in ("header p", "#drop small", ".card .name", ".card .label")}
        usual |= {colour(page, selector) for selector in ("body", "footer span", ".bars .percent")}
        files["red.jpg"].write_bytes(images.plain((90, 90, 90)))
        choose(page, files["red.jpg"], files["notes.jpg"])
        cards(page, 3)
        wrong = {colour(page, f".card.{kind} .label") for kind in ("problem", "uncertain")}
        assert len(wrong) == 1 and not wrong & usual
        assert not wrong & {colour(page, f".card.{kind} .name") for kind in ("problem", "uncertain")}


@pytest.mark.parametrize("width", [320, 390, 1000])
def test_long_names_do_not_widen_the_page(page, tmp_path, width):
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE | {"width": width, "mobile": width < 1000})
    try:
        for name in ("a" * 200 + ".png", "my holidays in " * 13 + ".png"):
            (tmp_path / name).write_bytes(images.plain(kind="PNG"))
            choose(page, tmp_path / name)
        cards(page, 2)
        root = "document.documentElement"
        assert page.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth")
        for card in page.find_elements(By.CSS_SELECTOR, ".card"):
            inner = card.find_element(By.CSS_SELECTOR, ".answer").rect
            assert inner["x"] + inner["width"] <= card.rect["x"] + card.rect["width"] <= width
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


RECORD = """
const send = window.fetch;
window.sent = [];
window.fetch = (address, options) => {
  const file = options.body.get("file");
  const keep = ({ width, height }) => window.sent.push([file.name, file.type, width, height, file.size]);
  createImageBitmap(file).then(keep);
  return send(address, options);
};
"""


def test_large_photo_is_scaled_down_and_upright_before_it_is_sent(page, tmp_path):
    small, turned = (tmp_path / name for name in ("small.jpg", "turned.jpg"))
    small.write_bytes(images.plain(GREEN, size=(1600, 900)))
    exif = images.Image.Exif()
    exif[images.ORIENTATION] = 6
    turned.write_bytes(images.encode(images.Image.new("RGB", (4000, 3000), RED), "JPEG", exif=exif))
    page.execute_script(RECORD)
    choose(page, small, turned)
    assert [card[1] for card in cards(page, 2)] == ["red", "green"]
    WebDriverWait(page, 20).until(lambda page: len(page.execute_script("return sent")) == 2)
    sent = sorted(page.execute_script("return sent"))
    assert sent[0] == ["small.jpg", "image/jpeg", 1600, 900, small.stat().st_size]
    assert sent[1][:4] == ["turned.jpg", "image/jpeg", 1200, 1600]


def test_format_that_is_read_by_the_browser_only_is_converted(page):
    data = base64.b64encode(images.encode(images.Image.new("RGB", (64, 64), BLUE), "ICO", sizes=[(64, 64)])).decode()
    page.execute_script(RECORD)
    page.execute_script(HAND_OVER.replace("image/png", "image/x-icon"), "drop", data)
    assert [card[:2] for card in cards(page, 1)] == [("given.png", "blue")]
    assert page.execute_script("return sent[0][1]") == "image/jpeg"


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_image_is_dropped_or_pasted(page, how):
    page.execute_script(HAND_OVER, how, base64.b64encode(images.plain(BLUE, "PNG")).decode())
    assert [card[:2] for card in cards(page, 1)] == [("given.png", "blue")]


def test_refused_image_shows_the_problem_beside_other_answers(browser, shared, files):
    with opened(browser, shared, "/", complaints=1) as page:  # the browser itself notes the 415
        choose(page, files["notes.jpg"], files["red.jpg"])
        assert [card[1] for card in cards(page, 2)] == ["red", "Not an image of an accepted format"]
        text = page.find_element(By.CSS_SELECTOR, ".card.problem").text
        assert "Send one of: JPEG, PNG" in text
        assert not page.find_elements(By.CSS_SELECTOR, ".card.problem img")


def test_service_that_is_gone_is_shown(browser, bundle, tmp_path, files):
    with service(tmp_path, MODEL_DIR=bundle) as running:
        browser.get(running.address)
    choose(browser, files["red.jpg"])
    [(_, label, _)] = cards(browser, 1)
    assert label == "No answer"


def test_page_asks_once_for_an_api_key(browser, bundle, tmp_path, files):
    keys = tmp_path / "keys"
    keys.write_text("page:0123456789abcdef\n")

    def answer(key):
        dialog = browser.find_element(By.ID, "access")
        WebDriverWait(browser, 20).until(lambda _: dialog.is_displayed())
        dialog.find_element(By.ID, "key").send_keys(key)

    with (
        service(tmp_path, MODEL_DIR=bundle, API_KEYS_FILE=keys) as running,
        opened(browser, running, "/", complaints=3),  # the browser itself notes each 401
    ):
        choose(browser, files["red.jpg"], files["green.png"])
        answer("not-this-key-either" + Keys.ENTER)
        answer("0123456789abcdef" + Keys.ENTER)
        assert [card[1] for card in cards(browser, 2)] == ["green", "red"]
        browser.refresh()
        choose(browser, files["red.jpg"])
        answer(Keys.ESCAPE)
        assert [card[1] for card in cards(browser, 1)] == ["An API key is needed"]


def test_controls_are_reached_by_keyboard_and_have_names(page):
    reached = []
    for _ in range(9):
        ActionChains(page).send_keys(Keys.TAB).perform()
        reached.append(page.switch_to.active_element)
    assert [element.tag_name for element in reached] == ["input", *["button"] * 5, "a", "a", "select"]
    names = [element.accessible_name for element in reached]
    assert "Choose images" in names[0]
    assert names[1:5] == ["Camera", "Paste", "Example: green plate", "Example: red"]
    assert names[5:] == ["Use via API", "API documentation", "Metrics", "Theme"]
    ActionChains(page).key_down(Keys.SHIFT).send_keys(Keys.TAB * 8).key_up(Keys.SHIFT).perform()
    style = "return getComputedStyle(document.getElementById('drop')).outlineStyle"
    assert page.execute_script(style) == "solid", "a person at the keyboard must see where they are"


def test_page_names_the_model_and_links_to_docs_and_metrics(page, shared):
    assert "This model tells apart red, green and blue." in page.find_element(By.TAG_NAME, "header").text
    assert "Model colours, version 1" in page.find_element(By.TAG_NAME, "footer").text
    for link in page.find_elements(By.CSS_SELECTOR, "footer a"):
        assert shared.get(urlsplit(link.get_attribute("href")).path).status_code == 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_needs_no_sideways_scrolling_and_text_has_contrast(browser, tmp_path, scheme, files):
    long = ["a_class_with_quite_a_long_name_without_spaces", "ordinary", "x"]
    folder = bundles.write(tmp_path / "model", classes=long)
    with service(tmp_path, MODEL_DIR=folder) as running:
        try:
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            browser.get(running.address)
            choose(browser, files["red.jpg"])
            cards(browser, 1)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE["width"]
            body = browser.find_element(By.TAG_NAME, "body")
            back, text = (luminance(body.value_of_css_property(name)) for name in ("background-color", "color"))
            lighter, darker = max(back, text), min(back, text)
            assert (lighter + 0.05) / (darker + 0.05) > 7
            assert (back > text) == (scheme == "light")
        finally:
            browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def luminance(colour):
    """Relative luminance of a CSS rgb colour, as WCAG defines it."""
    channels = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_docs_show_every_route_without_a_network(browser, shared):
    with opened(browser, shared, "/docs") as docs:
        WebDriverWait(docs, 20).until(lambda d: d.find_elements(By.CSS_SELECTOR, ".opblock"))
        paths = {element.text.replace("\u200b", "") for element in docs.find_elements(By.CSS_SELECTOR, "[data-path]")}
        assert paths == {"/", "/predict", "/explain", "/health", "/ready", "/metrics", "/docs", "/openapi.json"}
        docs.find_element(By.CSS_SELECTOR, ".opblock-post .opblock-summary").click()
        WebDriverWait(docs, 20).until(lambda d: d.find_elements(By.CSS_SELECTOR, ".opblock-post .response"))
        statuses = [e.text for e in docs.find_elements(By.CSS_SELECTOR, ".opblock-post .response-col_status")]
        assert {"200", "400", "413", "415", "422", "503"} <= set(statuses)

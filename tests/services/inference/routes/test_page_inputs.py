"""Examples, the camera and the button "Paste" on the page, in a real browser."""

from selenium.webdriver.common.by import By

from tests import bundles
from tests.services.inference.client import create_client
from tests.services.inference.routes.steps import button, cards, choose, text, wait_for


def test_example_is_classified_at_a_click(page):
    button(page, "Example: green plate").click()
    assert [card[:2] for card in cards(page, 1)] == [("green-plate.png", "green")]


def test_examples_are_images_of_the_bundle(bundle, tmp_path):
    client = create_client(model_dir=bundle)
    page = client.get("/").text
    assert page.count('src="examples/') == 2
    assert client.get("/examples/red.png").mimetype == "image/png"
    assert client.get("/examples/../manifest.json").status_code == 404
    assert client.get("/examples/no.png").status_code == 404
    assert "Examples" not in create_client(model_dir=bundles.write(tmp_path)).get("/").text


def test_photo_is_taken_with_the_camera(page):
    button(page, "Camera").click()
    shutter = page.find_element(By.CSS_SELECTOR, "#camera [value=taken]")
    wait_for(page, lambda _: shutter.is_enabled())
    shutter.click()
    [(name, label, _)] = cards(page, 1)
    assert name.startswith("camera ") and name.endswith(".jpg")
    assert label == "green", "the picture of the browser's test camera"
    assert page.execute_script("return document.querySelector('video').srcObject") is None, "the camera is off"


def test_camera_is_closed_without_a_photo(page):
    button(page, "Camera").click()
    wait_for(page, lambda _: page.find_element(By.CSS_SELECTOR, "#camera [value=taken]").is_enabled())
    button(page, "Close").click()
    assert not page.find_element(By.ID, "camera").is_displayed()
    assert not page.find_elements(By.CSS_SELECTOR, ".card")


def test_missing_camera_is_named(page):
    page.execute_script(
        "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotFoundError'))"
    )
    button(page, "Camera").click()
    wait_for(page, lambda _: "No camera is found" in text(page, "#camera"))
    assert not page.find_element(By.CSS_SELECTOR, "#camera [value=taken]").is_enabled()


def test_page_without_a_camera_offers_the_one_of_the_phone(page):
    page.execute_script("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
    page.execute_script("document.getElementById('photo').addEventListener('click', () => { window.offered = true; })")
    button(page, "Camera").click()
    assert page.execute_script("return offered")
    photo = page.find_element(By.ID, "photo")
    assert photo.get_attribute("capture") == "environment"


# A clipboard with these items, each as a list of types.
CLIPBOARD = """
const canvas = Object.assign(document.createElement("canvas"), { width: 8, height: 8 });
const context = canvas.getContext("2d");
context.fillStyle = "rgb(0, 200, 0)";
context.fillRect(0, 0, 8, 8);
const getType = (type) => new Promise((resolve) => canvas.toBlob(resolve, type));
navigator.clipboard.read = async () => arguments[0].map((types) => ({ types, getType }));
"""


def test_button_pastes_images(page):
    page.execute_script(CLIPBOARD, [["text/html", "image/png"], ["text/plain"]])
    button(page, "Paste").click()
    assert [card[:2] for card in cards(page, 1)] == [("pasted.png", "green")]


def test_button_that_can_paste_nothing_says_why(page, files):
    page.execute_script(CLIPBOARD, [["text/plain"]])
    button(page, "Paste").click()
    wait_for(page, lambda _: text(page, "#hint") == "There is no image in the clipboard.")
    page.execute_script("navigator.clipboard.read = () => Promise.reject(new DOMException('', 'NotAllowedError'))")
    button(page, "Paste").click()
    wait_for(page, lambda _: text(page, "#hint") == "The browser does not allow this page to read the clipboard.")
    choose(page, files["red.jpg"])
    cards(page, 1)
    assert not page.find_element(By.ID, "hint").is_displayed()

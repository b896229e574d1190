"""The enlarged image, the snippets and the theme on the page, in a real browser."""

import subprocess
import sys

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests import drawn_images as images
from tests import servers
from tests.drawn_images import RED
from tests.services.inference.routes.steps import cards, choose, opened
from tests.services.inference.serving import service

KEY = "0123456789abcdef"
LOG = "const logged = []; const console = { log: (value) => logged.push(value) };"


def test_image_is_enlarged_and_closed_with_escape(page, tmp_path):
    (tmp_path / "small.png").write_bytes(images.plain(RED, "PNG", size=(60, 30)))
    choose(page, tmp_path / "small.png")
    cards(page, 1)
    page.find_element(By.CSS_SELECTOR, ".enlarge").click()
    image = page.find_element(By.CSS_SELECTOR, "#viewer img")
    WebDriverWait(page, 20).until(lambda _: page.execute_script("return arguments[0].naturalWidth", image) == 60)
    assert image.rect["width"] > 700 and image.get_attribute("alt") == "small.png: red"
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not image.is_displayed()
    assert page.switch_to.active_element.accessible_name == "Enlarge small.png"


@pytest.fixture(scope="module")
def snippets(browser, bundle, tmp_path_factory):
    """Read the snippets of a service with an API key, by language."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "keys").write_text(f"someone:{KEY}\n")
    with service(folder, MODEL_DIR=bundle, API_KEYS_FILE=folder / "keys", WORKERS=1) as running:
        with opened(browser, running, "/") as page:
            page.find_element(By.ID, "use").click()
            sections = page.find_elements(By.CSS_SELECTOR, "#snippets section")
            found = {one.accessible_name: one.find_element(By.TAG_NAME, "code").text for one in sections}
        yield found


def run(command, folder):
    (folder / "image.jpg").write_bytes(images.plain(RED))
    variables = servers.environment() | {"API_KEY": KEY}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60, check=True)


def test_curl_snippet(snippets, tmp_path):
    assert '"label":"red"' in run(["bash", "-c", snippets["curl"]], tmp_path).stdout


def test_python_snippet(snippets, tmp_path):
    assert "'label': 'red'" in run([sys.executable, "-c", snippets["Python"]], tmp_path).stdout


def test_javascript_snippet(snippets, browser, tmp_path):
    (tmp_path / "image.jpg").write_bytes(images.plain(RED))
    address = snippets["curl"].split()[-1]
    browser.get(address.replace("predict", "health"))
    browser.execute_script("document.body.append(Object.assign(document.createElement('input'), { type: 'file' }))")
    browser.find_element(By.TAG_NAME, "input").send_keys(str(tmp_path / "image.jpg"))
    code = f"const apiKey = '{KEY}'; {LOG} {snippets['JavaScript']} return logged;"
    (answer,) = browser.execute_async_script(f"(async () => {{ {code} }})().then(arguments[0]);")
    assert answer["label"] == "red"


def test_snippet_is_copied_and_has_no_key_where_none_is_needed(page):
    page.execute_script("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.find_element(By.ID, "use").click()
    copy = page.find_element(By.CSS_SELECTOR, "#snippets section button")
    copy.click()
    WebDriverWait(page, 20).until(lambda _: copy.text == "Copied")
    address = page.execute_script("return new URL('predict', location.href).href")
    assert page.execute_script("return copied") == f"curl -F file=@image.jpg {address}"
    assert "API_KEY" not in page.find_element(By.ID, "snippets").text


def test_chosen_theme_is_kept(page):
    def paper():
        return page.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")

    def choose_theme(name):
        Select(page.find_element(By.ID, "theme")).select_by_visible_text(name)

    try:
        found = {}
        for name in ("Dark", "Light"):
            choose_theme(name)
            found[name] = paper()
            page.refresh()
            assert paper() == found[name]
        assert found["Dark"] != found["Light"]
    finally:
        choose_theme("System")
    assert paper() == found["Light"], "as the system of the test browser"

"""axe-core finds nothing to improve on the page, whatever it shows, on a desk and on a phone."""

import importlib.metadata

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests import bundles
from tests import drawn_images as images
from tests.services.inference.routes.steps import PHONE, cards, choose, opened
from tests.services.inference.serving import service

LONG = ["a_class_with_quite_a_long_name_without_spaces_" * 3, "some words that tell one class from another", "x"]
# The elements that must not be scrolled sideways, but have to.
WIDENED = """
const all = [document.documentElement, ...document.querySelectorAll("dialog[open]")];
return all.filter((each) => each.scrollWidth > each.clientWidth);
"""


@pytest.fixture(scope="module")
def axe():
    """Read axe-core, whose package has it for another browser driver."""
    files = importlib.metadata.files("axe-playwright-python")
    return next(file for file in files if file.name == "axe.min.js").read_text()


@pytest.fixture(scope="module")
def long_names(bundle, tmp_path_factory):
    """Run a service whose classes have long names."""
    folder = tmp_path_factory.mktemp("long")
    model = bundles.write(folder / "model", classes=LONG)
    (model / "examples").symlink_to(bundle / "examples")
    with service(folder, MODEL_DIR=model, WORKERS=1) as running:
        yield running


@pytest.mark.parametrize(("scheme", "width"), [("light", 1000), ("dark", 1000), ("light", 390)])
def test_page_has_no_violation_in_any_state(browser, long_names, files, axe, scheme, width):
    def check(state):
        browser.execute_script(axe)
        found = browser.execute_async_script("axe.run().then(arguments[0])")
        violations = [(one["id"], one["help"], one["nodes"][0]["html"]) for one in found["violations"]]
        assert found["passes"] and not violations, f"{state}: {violations}"
        assert not browser.execute_script(WIDENED), state

    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE | {"width": width, "mobile": width < 500})
    try:
        with opened(browser, long_names, "/", complaints=1) as page:  # the browser itself notes the 415
            check("empty")
            files["green.png"].write_bytes(images.plain((90, 90, 90), "PNG"))
            choose(page, files["red.jpg"], files["green.png"], files["notes.jpg"])
            cards(page, 3)
            page.execute_script("navigator.clipboard.read = async () => []")
            page.find_element(By.ID, "paste").click()
            WebDriverWait(page, 30).until(lambda p: p.find_element(By.ID, "hint").is_displayed())
            check("certain, uncertain and refused, and nothing to paste")
            for why in page.find_elements(By.CSS_SELECTOR, ".card:not(.problem) .tools button:first-child"):
                why.click()
            WebDriverWait(page, 30).until(lambda p: len(p.find_elements(By.CSS_SELECTOR, ".card.explained")) == 2)
            check("explained")
            page.find_element(By.ID, "open-camera").click()
            shutter = page.find_element(By.CSS_SELECTOR, "#camera [value=taken]")
            WebDriverWait(page, 30).until(lambda _: shutter.is_enabled())
            check("camera")
            page.find_element(By.CSS_SELECTOR, "#camera [value='']").click()
            for opener in (".enlarge", "#use"):
                page.find_element(By.CSS_SELECTOR, opener).click()
                check(opener)
                page.execute_script("document.querySelector('dialog[open]').close()")
            page.execute_script("document.getElementById('access').showModal()")
            check("key")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

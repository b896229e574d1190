"""A browser for the tests of the page."""

import shutil
from collections.abc import Iterator

import pytest
from selenium import webdriver

from tests import drawn_images as images
from tests.drawn_images import GREEN, RED
from tests.services.inference.routes.steps import opened


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    """Headless chromium that keeps a record of its requests and its console."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1000,900"):
        options.add_argument(argument)
    for argument in ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"):  # a camera, allowed
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    # Where a machine has its own, Selenium need not ask the network for one.
    options.binary_location = shutil.which("chromium") or ""
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, shared):
    """The page, freshly opened; it must load nothing from elsewhere and leave no complaint in the console."""
    with opened(browser, shared, "/") as driver:
        yield driver


@pytest.fixture
def files(tmp_path):
    paths = {}
    for name, content in {
        "red.jpg": images.plain(RED),
        "green.png": images.plain(GREEN, "PNG"),
        "notes.jpg": b"just text",
    }.items():
        paths[name] = tmp_path / name
        paths[name].write_bytes(content)
    return paths

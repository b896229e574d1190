"""Steps on the page in a real browser."""

import contextlib
import json
from urllib.parse import urlsplit

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}


@contextlib.contextmanager
def opened(browser, running, path, complaints=0):
    browser.get_log("performance"), browser.get_log("browser")
    browser.get(running.address + path)
    yield browser
    hosts = {urlsplit(url).netloc for url in requested(browser) if not url.startswith(("blob:", "data:"))}
    assert hosts == {f"127.0.0.1:{running.port}"}
    console = [entry["message"] for entry in browser.get_log("browser")]
    assert len(console) == complaints, console


def requested(browser):
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def choose(page, *files):
    page.find_element(By.ID, "file").send_keys("\n".join(map(str, files)))


def cards(page, count):
    """The finished cards, first on top, as (name, label, bars)."""

    def finished(page):
        found = page.find_elements(By.CSS_SELECTOR, ".card:not([aria-busy])")
        return len(found) == count and found

    return [
        (
            card.find_element(By.CSS_SELECTOR, ".name").text,
            card.find_element(By.CSS_SELECTOR, ".label").text,
            [bar.text.split("\n") for bar in card.find_elements(By.CSS_SELECTOR, ".bars li")],
        )
        for card in WebDriverWait(page, 20).until(finished)
    ]


def button(page, name):
    return next(one for one in page.find_elements(By.TAG_NAME, "button") if one.accessible_name.startswith(name))


def text(page, selector):
    return page.find_element(By.CSS_SELECTOR, selector).text


def wait_for(page, condition):
    return WebDriverWait(page, 20).until(condition)

"""The snippets of docs/serving.md and docs/windows.md do what they say."""

import re
import subprocess
import sys

import pytest
import requests
from selenium.webdriver.common.by import By

from tests import servers
from tests.drawn_images import RED, plain

ADDRESS = re.compile(r"(?:http://)?localhost:8000")
LOGGED = "const logged = []; const console = { log: (...values) => logged.push(...values) };"


@pytest.fixture(scope="module")
def snippets():
    """Read the snippets of the section about sending an image, as (language, text)."""
    text = (servers.ROOT / "docs/serving.md").read_text(encoding="utf-8")
    section = text.partition("## Sending an image")[2].partition("\n## ")[0]
    return re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)


@pytest.fixture
def folder(tmp_path):
    for name in ("cat.jpg", "a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(plain(RED))
    return tmp_path


def run(command, folder):
    done = subprocess.run(command, cwd=folder, env=servers.environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl(snippets, shared, folder):
    (lines,) = [text for language, text in snippets if language == "sh" and "curl" in text]
    for line in lines.splitlines():
        assert '"label":"red"' in run(["bash", "-c", ADDRESS.sub(shared.address, line)], folder)


def test_curl_of_windows(shared, folder):
    (folder / "docs").mkdir()
    (folder / "cat.jpg").rename(folder / "docs" / "cat.jpg")
    lines = re.findall(r"^curl\.exe .*", (servers.ROOT / "docs/windows.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        command = ADDRESS.sub(shared.address, line).replace("curl.exe", "curl")
        assert '"label":"red"' in run(["bash", "-c", command], folder)


def test_powershell_sends_a_file_as_the_body_of_a_form(shared):
    type_of_infile = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = requests.post(f"{shared.address}/predict", plain(RED), headers=type_of_infile, timeout=30)
    assert answer.json()["label"] == "red"


def test_python_with_requests(snippets, shared, folder):
    (text,) = [text for language, text in snippets if language == "python" and "import requests" in text]
    label, confidence = run([sys.executable, "-c", ADDRESS.sub(shared.address, text)], folder).split()
    assert label == "red" and float(confidence) > 0.9


def test_javascript_with_fetch(snippets, shared, folder, browser):
    (text,) = [text for language, text in snippets if language == "js"]
    browser.get(f"{shared.address}/health")
    browser.execute_script("document.body.append(Object.assign(document.createElement('input'), { type: 'file' }))")
    browser.find_element(By.TAG_NAME, "input").send_keys(str(folder / "cat.jpg"))
    code = f"const run = async () => {{ {LOGGED} {ADDRESS.sub(shared.address, text)} return logged; }};"
    label, confidence = browser.execute_async_script(f"{code} run().then(arguments[0], arguments[0]);")
    assert label == "red" and confidence > 0.9


def test_generated_client(snippets, shared, folder):
    (commands,) = [text for language, text in snippets if language == "sh" and "openapi-python-client" in text]
    (text,) = [text for language, text in snippets if language == "python" and "import Client" in text]
    generate = next(line for line in commands.splitlines() if line.startswith("openapi-python-client"))
    options = ADDRESS.sub(shared.address, generate).split()[1:]
    run([sys.executable, "-m", "openapi_python_client", *options], folder)
    code = "import sys; sys.path.insert(0, 'client')\n" + ADDRESS.sub(shared.address, text)  # instead of pip install
    label, confidence = run([sys.executable, "-c", code], folder).split()
    assert label == "red" and float(confidence) > 0.9

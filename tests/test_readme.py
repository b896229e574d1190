"""The README is a contract: what it names is there, and what it lists is what the code has."""

import re
from dataclasses import MISSING, fields
from pathlib import Path

from services.inference.settings import Settings
from tests import bundles
from tests.servers import ROOT
from tests.services.inference.serving import service

README = (ROOT / "README.md").read_text()
VERBS = set(re.findall(r"^([a-z]+):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def settings_table() -> str:
    """The settings of the service, as the README must show them."""
    rows = ["| setting | default | what it does |", "| --- | --- | --- |"]
    for setting in fields(Settings):
        default = "" if setting.default is MISSING else f"`{setting.default}`"
        rows.append(f"| `{setting.name.upper()}` | {default} | {setting.metadata['about']} |")
    return "\n".join(rows)


def test_the_table_of_settings_is_what_the_service_reads() -> None:
    shown = README.partition("<!-- settings -->")[2].partition("<!-- /settings -->")[0]
    assert shown.strip() == settings_table(), f"put this between the marks:\n{settings_table()}"


def test_every_make_verb_exists() -> None:
    used = set(re.findall(r"(?:^|`|=\S+ )make ([a-z]+)", README, re.MULTILINE))
    assert {"up", "test", "train", "data", "demo"} <= used
    assert used <= VERBS


def test_every_link_leads_somewhere() -> None:
    headings = {
        re.sub(r"[^a-z -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)", README, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert target[1:] in headings if target.startswith("#") else (ROOT / target).exists(), target


def test_every_module_that_is_run_exists() -> None:
    modules = set(re.findall(r"python -m ([a-z_.]+)", README))
    assert {"ml.train", "ml.registry"} <= modules
    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_the_routes_and_statuses_are_what_the_service_describes(tmp_path: Path) -> None:
    with service(tmp_path, MODEL_DIR=bundles.write(tmp_path / "bundle")) as running:
        described = running.get("/openapi.json").json()["paths"]
    shown = set(re.findall(r"^\| `(?:GET|POST) (/\S*)`", README, re.MULTILINE))
    assert shown == set(described) - {"/openapi.json"}
    statuses = set(re.findall(r"^\| (\d{3}) \|", README, re.MULTILINE))
    assert statuses == {code for code in described["/predict"]["post"]["responses"] if code[0] == "4" or code == "503"}

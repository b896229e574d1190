"""docs/security.md and SECURITY.md point at files that exist, and name settings that do."""

import re
from dataclasses import fields

import pytest

from services.inference.settings import Settings
from tests.servers import ROOT

PAGES = ("SECURITY.md", "docs/security.md")
TEXT = (ROOT / "docs" / "security.md").read_text()


def anchors(text):
    """The addresses that GitHub gives the headings of a page."""
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_what_exists(page):
    text = (ROOT / page).read_text()
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.is_file(), f"{page} points at {link}"
        assert not anchor or anchor in anchors(target.read_text()), f"{page} points at {link}"


def test_every_threat_names_what_shows_that_it_is_met():
    rows = [row for row in TEXT.splitlines() if row.startswith("|") and not row.startswith(("| ---", "| who"))]
    assert len(rows) >= 10
    assert all("](../" in row.split("|")[4] for row in rows)


def test_the_settings_it_tells_of_exist():
    known = {field.name.upper() for field in fields(Settings)}
    assert {"API_KEYS_FILE", "RATE_LIMIT", "TRUSTED_PROXIES", "METRICS_PORT"} <= known & set(
        re.findall(r"[A-Z_]{6,}", TEXT)
    )

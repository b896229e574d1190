"""Check that docs/security.md names the tests of its claims, and settings that exist."""

import re

from services.inference.settings import Settings
from tests.servers import ROOT

TEXT = (ROOT / "docs" / "security.md").read_text()


def test_every_threat_names_what_shows_that_it_is_met():
    rows = [row for row in TEXT.splitlines() if row.startswith("|") and not row.startswith(("| ---", "| who"))]
    assert len(rows) >= 10
    assert all("](../" in row.split("|")[4] for row in rows)


def test_the_settings_it_tells_of_exist():
    known = {name.upper() for name in Settings.model_fields}
    assert {"API_KEYS_FILE", "RATE_LIMIT", "TRUSTED_PROXIES", "METRICS_PORT"} <= known & set(
        re.findall(r"[A-Z_]{6,}", TEXT)
    )

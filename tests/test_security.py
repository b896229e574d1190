"""Check that docs/security.md names the tests of its claims, and settings that exist."""

import re

from services.inference.settings import Settings
from tests.servers import ROOT

TEXT = (ROOT / "docs" / "security.md").read_text()
# https://github.com/ossf/scorecard/blob/main/docs/checks.md
CHECKS = (
    "Binary-Artifacts Branch-Protection CI-Tests CII-Best-Practices Code-Review Contributors Dangerous-Workflow "
    "Dependency-Update-Tool Fuzzing License Maintained Packaging Pinned-Dependencies SAST SBOM Security-Policy "
    "Signed-Releases Token-Permissions Vulnerabilities Webhooks"
)


def rows(section):
    """Return the rows of a section's table, without its head."""
    (text,) = (part for part in TEXT.split("\n## ") if part.startswith(section + "\n"))
    return [row for row in text.splitlines() if row.startswith("|")][2:]


def test_every_threat_names_what_shows_that_it_is_met():
    threats = rows("Threats")
    assert len(threats) >= 10
    assert all("](../" in row.split("|")[4] or "](production.md" in row for row in threats)


def test_every_check_of_scorecard_is_answered():
    assert sorted(
        name for row in rows("OpenSSF Scorecard") for name in row.split("|")[1].strip().split(", ")
    ) == sorted(CHECKS.split())


def test_policy_links_to_private_reporting():
    policy = (ROOT / "SECURITY.md").read_text()
    assert re.search(r"https://github\.com/[\w-]+/[\w.-]+/security/advisories/new", policy)


def test_the_settings_it_tells_of_exist():
    known = {name.upper() for name in Settings.model_fields}
    assert {"API_KEYS_FILE", "RATE_LIMIT", "TRUSTED_PROXIES", "METRICS_PORT"} <= known & set(
        re.findall(r"[A-Z_]{6,}", TEXT)
    )

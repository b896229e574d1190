"""The campaign against a running service, in small: the same command takes 100,000 inputs by hand."""

import subprocess
import sys

import pytest

from tests import bundles, servers
from tests.fuzz import campaign, mutations

pytestmark = pytest.mark.faults

INPUTS = 1500


def test_mutated_inputs_do_the_service_no_harm(tmp_path):
    report = campaign.run(tmp_path, INPUTS, seed=6, MODEL_DIR=bundles.write(tmp_path / "model"))
    assert report.inputs == INPUTS
    assert {200, 400, 415, 422} <= report.statuses.keys(), "these inputs reach little of what is to be tested"
    assert report.unexpected == []
    assert report.restarts == 0
    assert report.complaints == []
    assert report.after < 1.15 * report.before


def test_the_command_puts_its_table_into_a_page_and_fails_with_the_service(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"Before\n\n{campaign.BEGIN}old\n{campaign.END}\n\nBehind\n")
    module = [sys.executable, "-m", "tests.fuzz.campaign", "--only-mutated", "--inputs", "300", "--into", page]
    # A model that fails on bright pictures makes the service answer 500, and the campaign must say so.
    bundle = bundles.write(tmp_path / "model", fragile=True)
    done = subprocess.run([*module, "--model", bundle], cwd=servers.ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "500:" in done.stdout
    text = page.read_text()
    assert text.startswith("Before\n\n<!-- campaign -->\n| what |")
    assert text.endswith("\n<!-- end of campaign -->\n\nBehind\n")
    assert "| inputs |" in text
    assert "old" not in text


def test_the_same_seed_makes_the_same_inputs():
    first, again, other = (mutations.request(mutations.Random(f"{seed} 1")) for seed in (1, 1, 2))
    assert first == again != other

"""schemathesis sends valid and invalid requests to a real service, and checks each answer."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import servers

pytestmark = pytest.mark.faults

EXAMPLES = 60
OPERATIONS = 7  # schemathesis leaves the document itself out


def test_service_answers_as_documented(target, tmp_path):
    command = [Path(sys.executable).with_name("schemathesis"), "--no-color", "run", f"{target.address}/openapi.json"]
    options = {"--checks": "all", "--mode": "all", "--max-examples": str(EXAMPLES), "--seed": "6"}
    env = os.environ | {"SCHEMATHESIS_HOOKS": "tests.fuzz.hooks", "PYTHONPATH": str(servers.ROOT)}
    arguments = [word for option in options.items() for word in option]
    done = subprocess.run([*command, *arguments], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Tested: {OPERATIONS}" in done.stdout
    cases = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert cases and int(cases[1]) == int(cases[2]) > EXAMPLES, done.stdout

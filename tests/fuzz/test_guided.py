"""A short run of the coverage-guided fuzzer."""

import re
import subprocess
import sys

import pytest

from tests import servers

pytestmark = pytest.mark.faults

RUNS = 2000
LINES = ("INITED", "DONE")  # of libFuzzer, each with the number of features reached


@pytest.mark.parametrize("target", ["decode", "upload"])
def test_no_exception_escapes_and_new_code_is_found(target):
    command = [sys.executable, "-m", "tests.fuzz.guided", target, f"-runs={RUNS}", "-seed=6"]
    done = subprocess.run(command, cwd=servers.ROOT, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    assert f"Done {RUNS} runs" in done.stderr
    seen = {event: list(map(int, re.findall(rf"{event}\s+cov: \d+ ft: (\d+)", done.stderr))) for event in LINES}
    assert seen["DONE"] > seen["INITED"] > [100], "the fuzzer reaches no new code"

"""The whole loop, as ``make demo`` runs it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import servers


def test_the_loop_closes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "scripts.demo"],
        cwd=servers.ROOT,
        # One thread: beside other tests, PyTorch's threads mostly wait for each other, and take processors to do so.
        env=servers.environment() | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        # Before pytest's own limit, which would leave the demo's servers running.
        printed, _ = demo.communicate(timeout=280)
    except subprocess.TimeoutExpired:
        demo.terminate()
        pytest.fail(f"The demo did not end:\n{demo.communicate(timeout=15)[0]}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(demo.pid, signal.SIGKILL)
    assert demo.returncode == 0, printed
    steps = ["draw", "train", "champion", "serve", "predict", "monitor"]
    table = printed[printed.index("\n  draw the sample ") :]
    assert all(step in table for step in steps), table
    counted = re.search(r"(\d+) of (\d+) right over HTTP, as evaluated", table)
    assert counted, table
    accuracy = int(counted[1]) / int(counted[2])
    assert f"post_deploy_accuracy = {accuracy:.4f}" in table
    assert accuracy > 0.75
    assert list(tmp_path.iterdir()) == []

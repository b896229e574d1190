"""The whole loop of ``make demo``."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import servers


@pytest.mark.timeout(900)
def test_demo_accuracy_is_the_evaluated_one_and_nothing_is_left(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "scripts.demo"],
        cwd=servers.ROOT,
        # One thread: beside other tests, PyTorch's threads mostly wait for each other.
        env=servers.environment() | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        # Before pytest's own timeout, which would leave the demo's servers running.
        printed, _ = demo.communicate(timeout=840)
    except subprocess.TimeoutExpired:
        demo.terminate()
        pytest.fail(f"The demo did not end:\n{demo.communicate(timeout=15)[0]}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(demo.pid, signal.SIGKILL)
    assert demo.returncode == 0, printed
    counted = re.search(r"(\d+) of (\d+) right", printed)
    assert counted, printed
    accuracy = int(counted[1]) / int(counted[2])
    assert f"post_deploy_accuracy = {accuracy:.4f}" in printed
    assert accuracy > 0.75
    assert list(tmp_path.iterdir()) == []

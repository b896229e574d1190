"""The whole loop, as ``make demo`` runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests import servers


def test_the_loop_closes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "scripts.demo"],
        cwd=servers.ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    steps = ["draw", "train", "champion", "serve", "predict", "monitor"]
    table = demo.stdout[demo.stdout.index("\n  draw the sample ") :]
    assert all(step in table for step in steps), table
    counted = re.search(r"(\d+) of (\d+) right over HTTP, as evaluated", table)
    assert counted, table
    accuracy = int(counted[1]) / int(counted[2])
    assert f"post_deploy_accuracy = {accuracy:.4f}" in table
    assert accuracy > 0.75
    assert list(tmp_path.iterdir()) == []

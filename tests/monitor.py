"""Run the post-deploy job as the CronJob does, as a process of its own."""

import subprocess
import sys

from tests import servers


def run(*arguments: str, **settings: object) -> "subprocess.CompletedProcess[str]":
    """Run the job once with these settings and no others."""
    return subprocess.run(
        [sys.executable, "-m", "services.monitor", *arguments],
        cwd=servers.ROOT,
        env=servers.environment() | {name: str(value) for name, value in settings.items()},
        capture_output=True,
        text=True,
        timeout=120,
    )

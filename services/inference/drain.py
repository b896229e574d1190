"""Sends clients elsewhere before the end, for a container's preStop: the image has no shell to do it."""

import os
import time
from pathlib import Path

SECONDS = 10


def main() -> None:
    """Make the DRAIN_FILE, and wait for clients to have gone."""
    Path(os.environ["DRAIN_FILE"]).touch()
    time.sleep(SECONDS)


if __name__ == "__main__":
    main()

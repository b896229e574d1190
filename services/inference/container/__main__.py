"""Commands for the container, which has no shell: ``python -m services.inference.container healthcheck|drain``."""

import http.client
import os
import sys
import time
from pathlib import Path

DRAIN_SECONDS = 10
TIMEOUT = 3  # seconds


def healthcheck() -> int:
    """Return exit code 0 if GET /health answers 200 in time, else 1."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT") or 8000), timeout=TIMEOUT)
    try:
        connection.request("GET", "/health")
        return int(connection.getresponse().status != 200)
    except (OSError, http.client.HTTPException):
        return 1


def drain() -> int:
    """Create DRAIN_FILE, and wait until clients have moved to other instances; for a pod's preStop hook."""
    Path(os.environ["DRAIN_FILE"]).touch()
    time.sleep(DRAIN_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit({"healthcheck": healthcheck, "drain": drain}[sys.argv[1]]())

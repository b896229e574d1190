"""Asks the service in this container whether it is alive, for a container's HEALTHCHECK: exit 0, or 1."""

import http.client
import os
import sys

TIMEOUT = 3  # seconds


def alive() -> bool:
    """Whether GET /health answers 200 in time."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT") or 8000), timeout=TIMEOUT)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


if __name__ == "__main__":
    sys.exit(not alive())

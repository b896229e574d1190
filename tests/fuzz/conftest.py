"""One service with two workers for all hostile inputs; at the end it must be unharmed."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle.preprocess import MAX_PIXELS
from tests import bundles, drawn_images
from tests.services.inference.serving import Service, service

MEBIBYTE = 2**20
MALFORMED = "Invalid request from ip="
IDLE, PER_PIXEL = 130 * MEBIBYTE, 17  # bytes, of a worker: what the Kubernetes manifests count with, and some


@pytest.fixture(scope="module")
def target(tmp_path_factory) -> Iterator[Service]:
    """A running service with the default settings."""
    folder = tmp_path_factory.mktemp("target")
    with service(folder, MODEL_DIR=bundles.write(folder / "model")) as running:
        running.wait_for_workers()
        workers = running.workers()
        yield running
        assert running.workers() == workers, "a worker died"
        assert complaints(running) == []
        assert running.metric("predictions_in_flight") == 0
        assert running.predict(drawn_images.plain()).json()["label"] == "red"
        assert all(peak(pid) < IDLE + PER_PIXEL * MAX_PIXELS for pid in workers)


def complaints(running: Service) -> list[str]:
    """Return the warnings, errors and tracebacks of the log, except gunicorn's line about a malformed request."""
    lines = [line for line in running.lines() if line["level"] != "INFO" or "exc_info" in line]
    return [str(line) for line in lines if "exc_info" in line or not line["message"].startswith(MALFORMED)]


def peak(pid: int) -> int:
    """Read the largest memory that a process ever had, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return 1024 * int(found[1])

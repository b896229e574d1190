"""One service with two workers that the hostile inputs are thrown at; in the end it must be as it was."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle.preprocess import MAX_PIXELS
from tests import bundles
from tests import drawn_images as pictures
from tests.services.inference.serving import Service, service

MEBIBYTE = 2**20
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
        assert running.lines_at("WARNING", "ERROR", "CRITICAL") == []
        assert running.metric("predictions_in_flight") == 0
        assert running.predict(pictures.plain()).json()["label"] == "red"
        assert all(peak(pid) < IDLE + PER_PIXEL * MAX_PIXELS for pid in workers)


def peak(pid: int) -> int:
    """The most memory that a process ever had, bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return 1024 * int(found[1])

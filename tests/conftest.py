"""Fixtures that more than one folder of tests uses."""

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers

# prometheus_client chooses at its import how it counts. As in the service, and in each process of pytest for itself.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="tests-metrics-")
atexit.register(shutil.rmtree, os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)

# A shell's background job ignores Ctrl-C, and so would every process the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

PHOTOS = servers.ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def mlflow_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real MLflow server that all tests of the session share."""
    with servers.mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture(scope="session")
def photo_archives() -> Path | None:
    """The folder with archives of real photos, where the machine has them."""
    return PHOTOS if PHOTOS.is_dir() else None

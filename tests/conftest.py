"""Fixtures that more than one folder of tests uses."""

import atexit
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers

# prometheus_client chooses at its import how it counts. As in the service, and in each process of pytest for itself.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="tests-metrics-")
atexit.register(shutil.rmtree, os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)

# kubectl is among the packages.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

# A background job of a shell ignores Ctrl-C, and so would every process that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

PHOTOS = servers.ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def mlflow_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run an MLflow server for all tests of the session; yield its address."""
    with servers.mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture(scope="session")
def photo_archives() -> Path | None:
    """Return the folder with archives of real photos; None if the machine has none."""
    return PHOTOS if PHOTOS.is_dir() else None

"""The real service with a tiny model."""

import contextlib
from collections.abc import Iterator

import pytest

from benchmarks.servers import OURS
from benchmarks.servers.process import Running, running
from tests import bundles


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory):
    return bundles.write(tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture(scope="session")
def service(tmp_path_factory, bundle_folder) -> Iterator[Running]:
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MODEL_DIR", str(bundle_folder))
            patch.delenv("PROMETHEUS_MULTIPROC_DIR")  # a starting service would remove this process's files
            started = stack.enter_context(running(OURS, tmp_path_factory.mktemp("service") / "log", workers=1))
        yield started


@pytest.fixture(autouse=True)
def _environment(bundle_folder, monkeypatch):
    monkeypatch.setenv("MODEL_DIR", str(bundle_folder))
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")

"""One service with two workers that most tests share."""

from collections.abc import Iterator

import pytest

from tests import bundles
from tests.services.inference.serving import Service, service


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """A folder with the model that names colours."""
    return bundles.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def shared(bundle, tmp_path_factory) -> Iterator[Service]:
    """A service with two workers and the default settings."""
    with service(tmp_path_factory.mktemp("service"), MODEL_DIR=bundle) as running:
        running.wait_for_workers()
        yield running

"""One service with two workers that most tests share, and processors for those that need some."""

import contextlib
import os
from collections.abc import Iterator

import pytest
from services.inference.processors import Processors

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


@pytest.fixture
def processors():
    """Make so many processors, whose file is closed at the end."""
    with contextlib.ExitStack() as files:

        def make(number):
            made = Processors(number)
            files.callback(os.close, made._file)
            return made

        yield make

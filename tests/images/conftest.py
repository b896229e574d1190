"""All images, built once for all tests of this folder."""

import os
import shutil

import pytest

from tests.images import engine


def pytest_collection_modifyitems(items):
    """Only `make test-images` runs the tests of this folder."""
    for item in items:
        if "tests/images" in item.path.as_posix():
            item.add_marker(pytest.mark.images)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    missing = [name for name in ("podman", "buildah", "debootstrap", "runc") if not shutil.which(name)]
    assert os.geteuid() == 0 and not missing, f"make test-images needs root, and Debian's packages {missing}"
    return engine.context(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def images(checkout):
    return engine.build(checkout, "test")


@pytest.fixture(scope="session")
def inference(images):
    return images["inference"]


@pytest.fixture(scope="session")
def model(images):
    return images["model"]


@pytest.fixture(scope="session")
def monitor(images):
    return images["monitor"]

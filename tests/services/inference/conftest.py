"""One app in this process and one real service, both with default settings, for most tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import bundles
from tests import drawn_images as images
from tests.services.inference.client import Client, create_client
from tests.services.inference.serving import Service, service


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Path:
    """Write the bundle that names colours, with examples."""
    folder = bundles.write(tmp_path_factory.mktemp("model"))
    (folder / "examples").mkdir()
    for name, colour in (("red.png", images.RED), ("green-plate.png", images.GREEN)):
        (folder / "examples" / name).write_bytes(images.plain(colour, "PNG"))
    (folder / "examples" / "licence.txt").write_text("drawn")
    return folder


@pytest.fixture(scope="session")
def client(bundle) -> Client:
    """Create an app in this process."""
    return create_client(model_dir=bundle)


@pytest.fixture(scope="session")
def shared(bundle, tmp_path_factory) -> Iterator[Service]:
    """Run a service with two workers."""
    with service(tmp_path_factory.mktemp("service"), MODEL_DIR=bundle) as running:
        running.wait_for_workers()
        yield running

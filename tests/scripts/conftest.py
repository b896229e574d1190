"""Fixtures for the tests of scripts/deploy: a service, and a cluster whose pods it stands for."""

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scripts import api_server
from tests.scripts.cluster import Object
from tests.scripts.desk import CHAMPION, Desk
from tests.services.inference.serving import Service, service


@pytest.fixture(scope="session")
def champion(tmp_path_factory) -> Iterator[Service]:
    """Run a service with the shipped model."""
    with service(tmp_path_factory.mktemp("champion"), MODEL_DIR=CHAMPION, WORKERS=1) as running:
        running.wait_for_workers(1)
        yield running


@pytest.fixture
def desk(tmp_path, champion) -> Iterator[Desk]:
    """Create an empty cluster, and images v1 and v2 with the shipped model."""
    with desk_in(tmp_path, champion) as made:
        yield made


@contextlib.contextmanager
def desk_in(folder: Path, champion: Service) -> Iterator[Desk]:
    with api_server.running() as (made, address):
        desk = Desk(folder, made, address)
        desk.image("v1", champion.port)
        desk.image("v2", champion.port)
        yield desk


@pytest.fixture(scope="session")
def objects_of_v1(tmp_path_factory, champion) -> dict[tuple[str, str, str], Object]:
    with desk_in(tmp_path_factory.mktemp("v1"), champion) as desk:
        code, printed = desk.deploy("v1")
        assert code == 0, printed
        return desk.cluster.objects


@pytest.fixture
def deployed(desk, objects_of_v1) -> Desk:
    """Create the cluster with v1 deployed."""
    desk.cluster.objects = copy.deepcopy(objects_of_v1)
    return desk

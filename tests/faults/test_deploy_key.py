"""scripts/deploy tries a service that asks for an API key."""

import pytest

from tests.scripts.conftest import champion, desk
from tests.scripts.desk import CHAMPION
from tests.services.inference.serving import service

pytestmark = pytest.mark.faults
# Fixtures of another folder.
__all__ = ["champion", "desk"]

KEY = "deploys-own-0123456789abcdef"


@pytest.fixture
def guarded(desk, tmp_path):
    """A cluster whose service wants a key, which the desk has in a file."""
    (tmp_path / "keys").write_text(f"deploy:{KEY}\n")
    (tmp_path / "key").write_text(f"{KEY}\n")
    with service(tmp_path, MODEL_DIR=CHAMPION, WORKERS=1, API_KEYS_FILE=tmp_path / "keys") as running:
        running.wait_for_workers(1)
        desk.image("v1", running.port)
        yield desk


def test_with_the_key_it_is_deployed_and_without_it_says_what_is_missing(guarded, tmp_path):
    code, printed = guarded.deploy("v1")
    assert code != 0
    assert "/predict answered" in printed and "Send an API key" in printed
    code, printed = guarded.deploy("v1", PREDICT_API_KEY_FILE=str(tmp_path / "key"))
    assert code == 0, printed
    assert KEY not in printed


@pytest.mark.parametrize("text", [None, "one\nanother"])
def test_a_file_without_a_key_is_refused_before_anything_is_touched(desk, tmp_path, text):
    if text is not None:
        (tmp_path / "key").write_text(text)
    code, printed = desk.deploy("v1", PREDICT_API_KEY_FILE=str(tmp_path / "key"))
    assert code == 2
    assert f"PREDICT_API_KEY_FILE={tmp_path}/key " in printed
    assert not text or text not in printed
    assert not desk.cluster.changes

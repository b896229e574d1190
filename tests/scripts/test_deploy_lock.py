"""scripts/deploy: of two at once, one waits or is refused."""

import pytest

from tests.scripts.desk import INFERENCE


def test_a_locked_cluster_is_not_touched_and_the_holder_named(deployed):
    deployed.lock(expires=60)
    deployed.cluster.changes.clear()
    process = deployed.start("v2")
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 3, printed
    assert "somebody@elsewhere" in printed
    assert deployed.cluster.changes == []
    assert deployed.running()[0] == f"{INFERENCE}:v1"


def test_the_second_waits_for_the_first(deployed):
    deployed.lock(expires=60)
    process = deployed.start("v2", LOCK_TIMEOUT="60")
    deployed.wait_for_line(process, "Waiting for another deploy to end (somebody@elsewhere)")
    deployed.cluster.delete("configmaps", "default", "deploy-lock")
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0, printed
    assert deployed.running()[0] == f"{INFERENCE}:v2"


@pytest.mark.parametrize("first", ["created", "configured"])
def test_two_at_once_take_turns(deployed, first):
    """Also where both find a lock that was left behind."""
    if first == "configured":
        deployed.lock(expires=-1)
        deployed.cluster.changes.clear()
    processes = [deployed.start(tag, LOCK_TIMEOUT="60") for tag in ("v1", "v2")]
    for process in processes:
        printed, _ = process.communicate(timeout=120)
        assert process.returncode == 0, printed
    locks = [change.partition(" ")[0] for change in deployed.cluster.changes if "deploy-lock" in change]
    assert locks == [first, "deleted", "created", "deleted"]


def test_a_lock_that_was_left_behind_is_taken_over(deployed):
    deployed.lock(expires=-1)
    code, printed = deployed.deploy("v2")
    assert code == 0, printed
    assert "Taking over the lock that a deploy left behind (somebody@elsewhere)" in printed

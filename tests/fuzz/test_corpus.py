"""Hostile images as a body and in a form."""

import os
from pathlib import Path

import pytest

from tests.fuzz import corpus

pytestmark = pytest.mark.faults

EXPECTED = {
    "harmless": (corpus.HARMLESS, {200}),
    "not an image": (corpus.NOT_IMAGES, {415}),
    "bomb": (corpus.BOMBS, {422}),
    "broken": (corpus.BROKEN, {422}),
    "truncated": (corpus.TRUNCATED, {400, 415, 422}),
    "garbage": (corpus.GARBAGE, {200, 415, 422}),
    "largest": (corpus.LARGEST, {200, 422}),
}
CASES = [(kind, name) for kind, (makes, _) in EXPECTED.items() for name in makes]
TYPES = {400: "no-picture", 415: "not-a-picture", 422: "broken-picture"}


@pytest.mark.parametrize(("kind", "name"), CASES, ids=[f"{kind}: {name}" for kind, name in CASES])
def test_hostile_image_gets_its_answer(target, kind, name):
    makes, expected = EXPECTED[kind]
    data = makes[name]()
    ways = [target.send] if kind == "largest" else [target.send, target.predict]
    for answer in (way(data) for way in ways):
        assert answer.status_code in expected
        if answer.status_code != 200:
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["type"] == f"urn:problem:{TYPES[answer.status_code]}"
            assert answer.json()["detail"]


def test_bombs_are_refused_at_little_cost(target):
    """Decoding them would take hours; a second each tells the two apart."""
    before = computed(target)
    for make in corpus.BOMBS.values():
        assert target.send(make()).status_code == 422
    assert computed(target) - before < len(corpus.BOMBS)


def computed(target):
    """Sum the workers' seconds of CPU time."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in target.workers()]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")

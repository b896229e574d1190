"""Requests that no client would send, over real connections to a real service."""

import pytest

from tests.fuzz import wire

pytestmark = pytest.mark.faults

NOT_IMPLEMENTED = 501  # what HTTP wants for an unknown Transfer-Encoding


def only(answers: list[wire.Answer]) -> wire.Answer:
    assert len(answers) == 1, answers
    return answers[0]


def refused(answer: wire.Answer) -> None:
    assert 400 <= answer.status < 500 or answer.status == NOT_IMPLEMENTED, answer
    assert answer.problem["status"] == answer.status
    assert answer.problem["detail"]
    assert answer.headers["x-request-id"] == answer.problem["request_id"]


@pytest.mark.parametrize("name", wire.FILE_NAMES)
def test_a_file_name_changes_nothing_and_is_not_logged(target, name):
    answer = only(wire.exchange(target.port, wire.FILE_NAMES[name]()))
    assert answer.status == 200, answer
    assert not [word for word in (b"passwd", b"boot.ini", b"alert(1)", b"a" * 100) if word in target.log.read_bytes()]


@pytest.mark.parametrize("name", wire.ODD)
def test_an_odd_request_is_answered_with_a_label(target, name):
    assert only(wire.exchange(target.port, wire.ODD[name]())).status == 200


@pytest.mark.parametrize("name", wire.REFUSED)
def test_a_broken_request_gets_one_problem(target, name):
    refused(only(wire.exchange(target.port, wire.REFUSED[name]())))


@pytest.mark.parametrize("name", wire.SMUGGLING)
def test_no_second_request_is_heard_behind_an_ambiguous_one(target, name):
    answer = only(wire.exchange(target.port, wire.SMUGGLING[name]()))
    refused(answer)

"""Requests that no client would send, over real connections to a real service."""

import pytest

from tests.fuzz import wire

pytestmark = pytest.mark.faults

BELOW_HTTP = {400, 405, 408, 413, 414, 417, 431, 501, 505}


def answers_of(target, requests, name):
    """Return the answers to a request, one at most, each of which is a problem or gunicorn's own page."""
    answers = wire.exchange(target.port, requests[name]())
    assert len(answers) <= 1, answers
    for answer in answers:
        if answer.headers["content-type"] == "text/html":
            assert answer.status in BELOW_HTTP, answer
        elif answer.status != 200:
            assert 400 <= answer.status < 500 and answer.problem["status"] == answer.status and answer.problem["detail"]
            assert answer.headers["x-request-id"] == answer.problem["request_id"]
    return answers


@pytest.mark.parametrize("name", wire.FILE_NAMES)
def test_file_name_changes_nothing_and_is_not_logged(target, name):
    assert [answer.status for answer in answers_of(target, wire.FILE_NAMES, name)] == [200]
    assert not [word for word in (b"passwd", b"boot.ini", b"alert(1)", b"a" * 100) if word in target.log.read_bytes()]


@pytest.mark.parametrize("name", wire.ODD)
def test_odd_request_is_answered_with_a_label(target, name):
    assert [answer.status for answer in answers_of(target, wire.ODD, name)] == [200]


@pytest.mark.parametrize("name", wire.REFUSED)
def test_broken_request_gets_one_problem(target, name):
    (answer,) = answers_of(target, wire.REFUSED, name)
    assert answer.problem["status"] != 200


@pytest.mark.parametrize("name", wire.MALFORMED)
def test_malformed_request_is_refused_by_the_server(target, name):
    assert 200 not in [answer.status for answer in answers_of(target, wire.MALFORMED, name)]


@pytest.mark.parametrize("name", wire.SMUGGLING)
def test_request_behind_an_ambiguous_one_is_not_answered(target, name):
    assert 200 not in [answer.status for answer in answers_of(target, wire.SMUGGLING, name)]


@pytest.mark.parametrize("name", wire.UNFINISHED)
def test_request_behind_an_unfinished_body_is_not_answered(target, name):
    with target.connect(wire.UNFINISHED[name]()) as connection:
        received = connection.recv(65536)
        connection.settimeout(0.5)
        for _ in range(20):
            try:
                connection.sendall(wire.SMUGGLED)
                received += connection.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            raise AssertionError("the connection stays open")
    assert [answer.status // 100 for answer in wire.parse(received)] == [4]

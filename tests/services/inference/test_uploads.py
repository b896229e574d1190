"""Forms of one file are cut out of the body: what comes out is what werkzeug's parser gives, or is left to it."""

import io

import pytest
import requests
from werkzeug.formparser import parse_form_data

from services.inference.uploads import only_file
from tests import drawn_images as pictures
from tests.drawn_images import GREEN, RED

PICTURE = pictures.plain()
DISPOSITION = b'Content-Disposition: form-data; name="file"; filename="a.jpg"'


def form(*parts: bytes, end: bytes = b"--x--\r\n") -> bytes:
    return b"".join(b"--x\r\n%s\r\n" % part for part in parts) + end


def part(data: bytes = PICTURE, head: bytes = DISPOSITION) -> bytes:
    return head + b"\r\n\r\n" + data


def by_werkzeug(body: bytes) -> list[bytes]:
    kind = "multipart/form-data; boundary=x"
    environ = {"wsgi.input": io.BytesIO(body), "CONTENT_TYPE": kind, "CONTENT_LENGTH": str(len(body))}
    files = parse_form_data(environ, stream_factory=lambda **_: io.BytesIO())[2]
    return [file.read() for file in files.getlist("file")]


USUAL = {
    "of curl": form(part(head=DISPOSITION + b"\r\nContent-Type: image/jpeg")),
    "without a type": form(part()),
    "without a last line break": form(part(), end=b"--x--"),
    "without a name": form(part(head=b'Content-Disposition: form-data; name="file"; filename=""')),
    "in small letters": form(part(head=DISPOSITION.replace(b"C", b"c").replace(b"D", b"d"))),
    "with line breaks at its ends": form(part(b"\r\n\r\n" + PICTURE + b"\r\n")),
    "with dashes": form(part(b"--y\r\n--\r\n" + PICTURE)),
}
OTHERS = {
    "two files": form(part(), part()),
    "a field before": form(b'Content-Disposition: form-data; name="note"\r\n\r\nhello', part()),
    "a field after": form(part(), b'Content-Disposition: form-data; name="note"\r\n\r\nhello'),
    "another field": form(part(head=DISPOSITION.replace(b'"file"', b'"other"'))),
    "a field in capitals": form(part(head=DISPOSITION.replace(b'"file"', b'"FILE"'))),
    "a text": form(part(head=b'Content-Disposition: form-data; name="file"')),
    "an encoded name": form(part(head=b"Content-Disposition: form-data; name=\"file\"; filename*=utf-8''a")),
    "a quote in the name": form(part(head=DISPOSITION.replace(b"a.jpg", b'a\\"; name=\\"b'))),
    "a third header": form(part(head=DISPOSITION + b"\r\nX-More: 1")),
    "a preamble": b"hello\r\n" + form(part()),
    "an epilogue": form(part(), end=b"--x--\r\nhello"),
    "the boundary in the file": form(part(b"--x" + PICTURE)),
    "no end": form(part(), end=b""),
    "half an end": form(part(), end=b"--x-"),
    "no file": b"--x--\r\n",
    "nothing": b"",
    "a head only": b"--x\r\n" + DISPOSITION,
}


@pytest.mark.parametrize("name", USUAL)
def test_a_usual_form_is_read_as_werkzeug_does(name):
    assert only_file(USUAL[name], "x") == by_werkzeug(USUAL[name])[0]


@pytest.mark.parametrize("name", OTHERS)
def test_any_other_form_is_left_to_werkzeug(name):
    assert only_file(OTHERS[name], "x") is None


@pytest.mark.parametrize("boundary", ["", "y", "x-", "\xe4", "X"])
def test_another_boundary_is_not_taken_for_this_one(boundary):
    assert only_file(USUAL["of curl"], boundary) is None


def test_forms_of_both_sorts_are_answered_over_one_connection(shared):
    fields = {"file": ("a.jpg", PICTURE)}
    with requests.Session() as session:
        for _ in range(3):
            for more in ({}, {"note": ("", b"hello")}):
                response = session.post(f"{shared.address}/predict", files=fields | more, timeout=30)
                assert response.json()["label"] == "red"


def test_requests_sent_together_are_answered_in_order(shared):
    """The end of one body and the head of the next may arrive as one."""
    both = b""
    for colour in (RED, GREEN):
        body = pictures.plain(colour)
        both += b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n" % len(body)
        both += (b"\r\n" if colour is RED else b"Connection: close\r\n\r\n") + body
    with shared.connect(both) as connection:
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answers.count(b"HTTP/1.1 200 ") == 2
    assert answers.index(b'"label":"red"') < answers.index(b'"label":"green"')

import base64
import gc
import io
import weakref

import gevent
import numpy as np
import pytest

from bundle.preprocess import BrokenImageError
from services.inference.routes import predict
from services.inference.uploads import body as uploads
from tests import drawn_images as images
from tests.drawn_images import GREEN
from tests.services.inference.client import Client, assert_problem, create_client

RED = images.plain()
LIMIT = 10_000
BIGGEST = RED + bytes(LIMIT - len(RED))
DATA_URL = b"data:image/jpeg;base64," + base64.b64encode(RED)
FILE = b'Content-Disposition: form-data; name="file"; filename="a.jpg"'
NOTE = b'Content-Disposition: form-data; name="note"\r\n\r\nhello'


class Unread(io.RawIOBase):
    """A body that must not be read before the answer. It fails as invalid chunks do in gunicorn."""

    def read(self, size=-1):
        raise OSError

    def readinto(self, buffer):
        raise OSError


@pytest.fixture(scope="module")
def small(bundle) -> Client:
    return create_client(model_dir=bundle, max_upload_bytes=LIMIT, max_pictures=3)


def form(*parts: bytes, end: bytes = b"--x--\r\n") -> bytes:
    return b"".join(b"--x\r\n%s\r\n" % part for part in parts) + end


def part(data: bytes = RED, head: bytes = FILE) -> bytes:
    return head + b"\r\n\r\n" + data


def send_form(client: Client, body: bytes, kind: str = "multipart/form-data; boundary=x"):
    return client.send(body, kind)


KINDS = ["image/png", "image/x-made-up", "application/octet-stream", "binary/octet-stream", "", "*/*", "nonsense"]
KINDS += [
    "application/x-www-form-urlencoded",
    "text/plain",
    "application/json",
    "multipart/form-data",
    "multipart/mixed",
]


@pytest.mark.parametrize("kind", [*KINDS, "multipart/form-data; boundary=x"])
def test_body_is_recognised_by_content_whatever_its_type(client, kind):
    assert client.send(RED, kind).json == client.predict(RED).json


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded"])
def test_text_as_the_body_names_its_type(client, kind):
    assert_problem(client.send(b"photo.jpg", kind), 415, "not-a-picture", kind, "'file'")


def test_file_sent_with_curl_d_names_the_option(client):
    spoiled = RED.translate(None, b"\0\r\n")
    assert_problem(client.send(spoiled, "application/x-www-form-urlencoded"), 422, "broken-picture", "--data-binary")


FORMS = {
    "of curl": form(part(head=FILE + b"\r\nContent-Type: image/jpeg")),
    "without a last line break": form(part(), end=b"--x--"),
    "with an empty name": form(part(head=FILE.replace(b"a.jpg", b""))),
    "in small letters": form(part(head=FILE.lower())),
    "with line breaks around": form(part(RED + b"\r\n\r\n")),
    "with another boundary inside": form(part(RED + b"--y\r\n--\r\n")),
    "with a field before": form(NOTE, part()),
    "with a field after": form(part(), NOTE),
    "with an encoded name": form(part(head=FILE.replace(b'filename="', b"filename*=utf-8''a; x=\""))),
    "with a quote in its name": form(part(head=FILE.replace(b"a.jpg", b'a\\"; name=\\"b'))),
    "with a hostile name": form(part(head=FILE.replace(b"a.jpg", b"../../etc/passwd\0.jpg" + "ü".encode() * 300))),
    "with a name that is not UTF-8": form(part(head=FILE.replace(b"a.jpg", b"caf\xe9.jpg"))),
    "without a name": form(part(head=b'Content-Disposition: form-data; name="file"')),
    "without a name, but with a type": form(
        part(head=b'Content-Type: image/jpeg\r\nContent-Disposition: form-data; name="file"')
    ),
    "in another field": form(part(head=FILE.replace(b'"file"', b'"image"')), NOTE),
    "in another field without a name": form(NOTE, part(head=b'Content-Disposition: form-data; name="photo"')),
    "in a field without a name": form(part(head=b'Content-Disposition: form-data; filename="a.jpg"')),
    "in its field among others": form(part(b"?", head=FILE.replace(b'"file"', b'"other"')), part()),
    "as base64": form(part(base64.b64encode(RED), head=b'Content-Disposition: form-data; name="file"')),
    "as a file of base64": form(part(base64.encodebytes(RED))),
    "as a data URL": form(part(DATA_URL, head=b'Content-Disposition: form-data; name="file"'), NOTE),
    "with a third header": form(part(head=FILE + b"\r\nX-More: 1")),
    "with a preamble": b"hello\r\n" + form(part()),
    "with an image as its preamble": images.plain(GREEN) + b"\r\n" + form(part()),
    "with an epilogue": form(part(), end=b"--x--\r\nhello"),
}


@pytest.mark.parametrize("name", FORMS)
def test_form_is_read(client, name):
    response = send_form(client, FORMS[name])
    assert response.status_code == 200, response.text
    assert response.json["label"] == "red"


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; charset=utf-8",
        "multipart/form-data; boundary=----copied",
        "multipart/mixed",
        "application/json",
        "application/x-www-form-urlencoded",
        "image/jpeg",
        "",
    ],
)
def test_form_is_read_whatever_its_content_type(client, kind):
    for body in (form(part()), form(NOTE, part()), form(part(head=b"Content-Type: image/jpeg\r\n" + FILE))):
        assert send_form(client, body, kind).json["label"] == "red"
    assert [one["label"] for one in send_form(client, form(part(), part()), kind).json["predictions"]] == ["red"] * 2


def test_several_files_in_another_field_are_read(client):
    head = FILE.replace(b'"file"', b'"files[]"')
    answer = send_form(client, form(part(head=head), part(images.plain(GREEN), head=head))).json
    assert [one["label"] for one in answer["predictions"]] == ["red", "green"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (form(part(head=FILE.replace(b'"file"', b'"a"')), part(head=FILE.replace(b'"file"', b'"b"'))), "(a, b)"),
        (form(part(b"photo.jpg", head=b'Content-Disposition: form-data; name="file"')), "-F file=@photo.jpg"),
        (form(part(b"photo.jpg", head=b'Content-Disposition: form-data; name="image"')), "-F file=@photo.jpg"),
        (form(part(b"")), "file is empty"),
        (form(), "no file"),
        (form(NOTE), "no file"),
        (form(part(), end=b""), "cannot be read"),
        (form(part(), end=b"--x-"), "cannot be read"),
        (b"--x\r\n" + FILE, "cannot be read"),
        (form(part(head=b"Content-Type: image/jpeg")), "Content-Disposition"),
        (b"hello", "cannot be read"),
    ],
)
def test_form_without_an_image_names_the_remedy(client, body, words):
    assert_problem(send_form(client, body), 400, "no-picture", words)


def test_form_without_any_boundary_names_the_cause(client):
    for body in (b"hello", b"--x--\r\n"):
        assert_problem(send_form(client, body, "multipart/form-data"), 400, "no-picture", "lacks the form's boundary")


def test_names_of_fields_in_an_answer_are_cut(client):
    parts = [part(head=FILE.replace(b'"file"', b'"%d%s"' % (number, b"x" * 3000))) for number in range(99)]
    response = send_form(client, form(*parts))
    assert_problem(response, 400, "no-picture", "several fields")
    assert len(response.data) < 1000


def test_request_without_a_body_has_no_image(client):
    assert_problem(client.post("/predict"), 400, "no-picture", "'file'")
    assert_problem(client.send(b""), 400, "no-picture", "'file'")


def test_number_of_images_is_limited_exactly(small):
    assert len(small.predict(*[RED] * 3).json["predictions"]) == 3
    assert_problem(small.predict(*[RED] * 4), 413, "too-large", "at most 3")


def test_number_of_bytes_is_limited_exactly(small):
    assert small.send(BIGGEST).status_code == small.announce(BIGGEST[:-1], None).status_code == 200
    assert_problem(small.send(BIGGEST + b"\0"), 413, "too-large", "10,000 bytes")
    assert_problem(small.announce(BIGGEST + b"\0", None), 413, "too-large")
    assert_problem(small.predict(BIGGEST), 413, "too-large")


def test_too_large_upload_is_refused_before_its_body_is_read(small):
    assert_problem(small.announce(b"", LIMIT + 1, **{"wsgi.input": Unread()}), 413, "too-large")


def test_upload_that_breaks_off_is_incomplete(client):
    assert_problem(client.announce(RED, len(RED) + 1), 400, "broken-upload")


def test_upload_in_invalid_chunks_is_incomplete(client):
    assert_problem(client.announce(b"", None, **{"wsgi.input": Unread()}), 400, "broken-upload")


class SendingAnother:
    """A body during which the client sends another upload."""

    def __init__(self, data, send):
        self.data, self.send, self.others = io.BytesIO(data), send, []

    def read(self, size=-1):
        if self.data.tell() > 600_000 and not self.others:
            self.others.append(self.send())
        return self.data.read(size)


def test_uploads_beyond_their_memory_are_refused_until_others_end(bundle):
    client = create_client(model_dir=bundle, max_upload_bytes=2**20, max_upload_memory=2**20)
    shed = client.metric("requests_shed_total")
    large = RED + bytes(700_000 - len(RED))
    body = SendingAnother(large, lambda: client.application.test_client().send(large))
    assert client.announce(b"", len(large), **{"wsgi.input": body}).status_code == 200
    (refused,) = body.others
    assert_problem(refused, 503, "full")
    assert refused.headers["Retry-After"] == "1"
    assert client.metric("requests_shed_total") == shed + 1
    assert client.send(large).status_code == 200


def test_rest_of_a_refused_upload_is_read_up_to_a_limit(small, monkeypatch):
    monkeypatch.setattr(uploads, "DISCARD_BYTES", 3 * uploads.CHUNK)
    body = io.BytesIO(bytes(10 * uploads.CHUNK))
    assert_problem(small.announce(b"", 10 * uploads.CHUNK, **{"wsgi.input": body}), 413, "too-large")
    assert body.tell() == 3 * uploads.CHUNK


class Watched(str):
    """An image that can be referred to weakly, which bytes cannot."""


@pytest.mark.parametrize("status", [200, 422])
def test_images_are_freed_with_the_response(client, monkeypatch, status):
    left = []

    def read_images(*_):
        image = Watched("image")
        left.append(weakref.ref(image))
        return [image]

    def decode(*_):
        if status == 422:
            raise BrokenImageError
        return np.zeros((32, 32, 3), np.uint8)

    monkeypatch.setattr(uploads, "read_images", read_images)
    monkeypatch.setattr(predict, "decode", decode)
    gc.disable()
    try:
        assert client.send(RED).status_code == status
        gevent.sleep(0)  # gevent holds the result until its next turn
        assert left[0]() is None
    finally:
        gc.enable()

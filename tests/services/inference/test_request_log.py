"""Log lines and request ids."""

import pytest
import requests
from PIL import Image

from tests import drawn_images as pictures
from tests.drawn_images import GREEN, RED


def test_each_request_has_one_line_with_its_id(shared):
    picture = pictures.plain(GREEN)
    response = shared.predict(picture)
    line = shared.line(response.headers["X-Request-ID"])
    assert line["endpoint"] == "/predict"
    assert (line["method"], line["status"], line["level"]) == ("POST", 200, "INFO")
    assert (line["pictures"], line["label"]) == (1, "green")
    assert line["request_bytes"] > len(picture)
    assert line["response_bytes"] == len(response.content)
    assert line["duration_ms"] > 0
    assert line["time"].startswith("20")


def test_several_pictures_have_no_single_label(shared):
    line = shared.line(shared.predict(pictures.plain(RED), pictures.plain(GREEN)).headers["X-Request-ID"])
    assert line["pictures"] == 2
    assert "label" not in line


def test_an_unknown_address_is_logged_too(shared):
    line = shared.line(shared.get("/nowhere").headers["X-Request-ID"])
    assert (line["endpoint"], line["status"]) == ("other", 404)


def test_a_sane_id_is_taken_over(shared):
    response = shared.get("/health", headers={"X-Request-ID": "trace-1:a.b_c"})
    assert response.headers["X-Request-ID"] == "trace-1:a.b_c"
    assert shared.line("trace-1:a.b_c")["endpoint"] == "/health"


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", 'quote"', "<script>", "ä"])
def test_an_insane_id_is_replaced(shared, given):
    response = shared.get("/health", headers={"X-Request-ID": given.encode("latin-1")})
    made = response.headers["X-Request-ID"]
    assert made != given
    assert len(made) == 32
    assert int(made, 16)


def test_two_requests_have_two_ids(shared):
    assert len({shared.get("/health").headers["X-Request-ID"] for _ in range(10)}) == 10


def test_nothing_that_a_client_made_up_is_logged(shared):
    """File names, pictures, what is written in their EXIF, paths, queries, headers: each may be personal or secret."""
    exif = Image.Exif()
    exif[0x010E], exif[0x8298] = "private-description", "private-owner"
    tagged = pictures.encode(pictures.corners(), "JPEG", exif=exif.tobytes())
    assert b"private-owner" in tagged
    secret = {"Authorization": "Bearer private-key", "Cookie": "a=private-cookie", "User-Agent": "private-agent"}
    sent = [
        requests.post(f"{shared.address}/predict?private-query", files={"file": file}, headers=secret, timeout=30)
        for file in (("private-name.jpg", tagged), ("private-name.jpg", b"private-content"), ("p.jpg", tagged[:-500]))
    ]
    assert [response.status_code for response in sent] == [200, 415, 422]
    sent.append(requests.get(f"{shared.address}/private-path", headers=secret, timeout=30))
    for response in sent:
        shared.line(response.headers["X-Request-ID"])
    with shared.connect(b"PRIVATE private-line HTTP/9\r\nprivate-header: private\r\n\r\n") as broken:
        assert b" 400 " in broken.recv(1000)
    assert "private" not in shared.log.read_text().lower()


def test_every_line_is_json(shared):
    shared.predict(pictures.broken_exif())
    messages = {line["message"] for line in shared.lines()}
    assert {"model loaded", "request"} <= messages
    assert [message for message in messages if message.startswith("Starting gunicorn")]

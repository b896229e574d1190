import pytest
from PIL import Image

from tests import drawn_images as images
from tests.drawn_images import GREEN, RED


@pytest.fixture
def line(caplog):
    """Return the fields of the one log line of an answer."""
    caplog.set_level("INFO")

    def line(response):
        request_id = response.headers["X-Request-ID"]
        (found,) = [vars(one) for one in caplog.records if getattr(one, "request_id", None) == request_id]
        assert (found["levelname"], found["message"]) == ("INFO", "request")
        return found

    return line


def test_prediction_is_logged(client, line):
    response = client.predict(images.plain(GREEN))
    found = line(response)
    assert (found["method"], found["endpoint"], found["status"]) == ("POST", "/predict", 200)
    assert (found["pictures"], found["label"]) == (1, "green")
    assert found["request_bytes"] > len(images.plain(GREEN))
    assert found["response_bytes"] == len(response.data)
    assert found["duration_ms"] > 0


def test_several_images_have_no_single_label(client, line):
    found = line(client.predict(images.plain(RED), images.plain(GREEN)))
    assert found["pictures"] == 2
    assert "label" not in found


def test_unknown_paths_and_methods_are_logged(client, line):
    assert (found := line(client.get("/nowhere")))["endpoint"] == "other" and found["status"] == 404
    found = line(client.open("/health", method="MADE-UP"))
    assert (found["endpoint"], found["method"], found["status"]) == ("/health", "OTHER", 405)


def test_valid_request_id_is_kept(client, line):
    response = client.get("/health", headers={"X-Request-ID": "trace-1:a.b_c"})
    assert response.headers["X-Request-ID"] == "trace-1:a.b_c"
    assert line(response)["endpoint"] == "/health"


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", 'quote"', "<script>", "ä"])
def test_invalid_request_id_is_replaced(client, given):
    made = {client.get("/health", headers={"X-Request-ID": given}).headers["X-Request-ID"] for _ in range(3)}
    assert len(made) == 3
    assert all(len(one) == 32 and int(one, 16) for one in made)


def test_nothing_private_is_logged(client, line, caplog):
    exif = Image.Exif()
    exif[0x010E], exif[0x8298] = "private-description", "private-owner"
    tagged = images.encode(images.corners(), "JPEG", exif=exif.tobytes())
    assert b"private-owner" in tagged
    headers = {"Authorization": "Bearer private-key", "Cookie": "a=private-cookie", "User-Agent": "private-agent"}
    sent = [client.predict(data, headers=headers) for data in (tagged, b"private-content", tagged[:-500])]
    sent += [client.get("/private-path?private-query", headers=headers), client.post("/predict?private-query")]
    assert [response.status_code for response in sent] == [200, 415, 422, 404, 400]
    assert all(map(line, sent))
    assert "private" not in repr([vars(one) for one in caplog.records])

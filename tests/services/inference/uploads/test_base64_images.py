import base64
import json
import tracemalloc

import pytest

from services.inference.problems import Problem
from services.inference.uploads import base64_images
from tests import drawn_images as images
from tests.drawn_images import BLUE, RED
from tests.services.inference.client import assert_problem, create_client

BASE64 = base64.b64encode(images.plain(RED)).decode()
DATA_URL = f"data:image/jpeg;base64,{BASE64}"
JSON = "application/json"
FORMS = {
    "base64": {"image": BASE64},
    "data URL": {"image": DATA_URL},
    "data URL with parameters": {"image": f"data:image/jpeg;name=cat.jpg;charset=utf-8;BASE64,{BASE64}"},
    "wrapped lines": {"image": base64.encodebytes(images.plain(RED)).decode()},
    "base64 for addresses, without padding": {
        "image": base64.urlsafe_b64encode(images.plain(RED)).decode().rstrip("=")
    },
    "more fields": {"id": 7, "image": BASE64, "name": "Käfer"},
    "list of one": {"image": [BASE64]},
    "TensorFlow Serving": {"instances": [{"b64": BASE64}]},
    "TensorFlow Serving, named": {"instances": [{"image_bytes": {"b64": BASE64}, "key": "1"}]},
    "KServe": {"instances": [{"image": {"b64": BASE64}}]},
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("kind", [JSON, "application/x-www-form-urlencoded", "", "text/plain"])
def test_json_is_read(client, name, kind):
    response = client.send(json.dumps(FORMS[name]), kind)
    assert response.status_code == 200, response.text
    assert response.json["label"] == "red"


def test_json_with_a_byte_order_mark_is_read(client):
    text = json.dumps({"name": "Käfer", "image": BASE64}, ensure_ascii=False)
    for encoding in ("utf-8", "utf-8-sig"):
        assert client.send(text.encode(encoding), JSON).json["label"] == "red"


def test_several_images_in_json_are_answered_in_order(client):
    blue = base64.b64encode(images.plain(BLUE)).decode()
    for body in ({"image": [BASE64, blue]}, {"instances": [{"b64": BASE64}, {"b64": blue}]}):
        answer = client.send(json.dumps(body), JSON).json
        assert [one["label"] for one in answer["predictions"]] == ["red", "blue"]


@pytest.mark.parametrize("text", [DATA_URL, f"{DATA_URL}\n", f" {DATA_URL}", BASE64])
@pytest.mark.parametrize("kind", ["text/plain", "image/jpeg", JSON, ""])
def test_data_url_or_base64_as_the_body_is_read(client, text, kind):
    assert client.send(text, kind).json["label"] == "red"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{", "not valid JSON"),
        ("[" * 900, "not valid JSON"),
        ('{"image": "' + "\udcff", "not valid JSON"),
        ({}, '{"image": "<base64>"}'),
        ([], '{"image": "<base64>"}'),
        ({"image": None}, '{"image": "<base64>"}'),
        ({"picture": BASE64}, '{"image": "<base64>"}'),
        ({"image": ""}, "is empty"),
        ({"image": "https://example.com/cat.jpg"}, "neither base64"),
        ({"image": "data:image/svg+xml,%3Csvg"}, "neither base64"),
        ({"image": "Käfer"}, "neither base64"),
        ({"image": BASE64[:100] + "?" + BASE64[100:]}, "neither base64"),
    ],
)
def test_json_without_base64_names_the_form(client, body, words):
    body = body.encode("utf-8", "surrogateescape") if isinstance(body, str) else json.dumps(body)
    assert_problem(client.send(body, JSON), 400, "no-picture", words)


def test_data_url_without_base64_is_named(client):
    assert_problem(client.send("data:image/svg+xml,%3Csvg", "text/plain"), 400, "no-picture", "data URL")


def test_json_with_bad_images_is_answered_like_other_uploads(client, bundle):
    text = base64.b64encode(b"I am a cat, trust me.").decode()
    assert_problem(client.send(json.dumps({"image": text}), JSON), 415, "not-a-picture", "JPEG")
    assert_problem(client.send(json.dumps({"image": [BASE64, BASE64[:200]]}), JSON), 422, "broken-picture", index=1)
    assert_problem(client.send(json.dumps({"image": [BASE64, "?"]}), JSON), 400, "no-picture", index=1)
    small = create_client(model_dir=bundle, max_pictures=2)
    assert_problem(small.send(json.dumps({"image": [BASE64] * 3}), JSON), 413, "too-large", "at most 2")


@pytest.mark.parametrize("part", [b"[],", b'{"a":1},', b'"",', b"1,"])
def test_json_of_many_values_is_refused_without_their_memory(part):
    body = b"[" + part * 1_000_000 + b"1]"
    tracemalloc.start()
    try:
        with pytest.raises(Problem, match="more than 1000 values"):
            base64_images.read_json(body)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()

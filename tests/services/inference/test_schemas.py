"""/openapi.json says what the service really answers."""

import re

import pytest
import requests

from services.inference import schemas as answers
from tests import drawn_images as pictures
from tests.services.inference.serving import service


@pytest.fixture(scope="module")
def spec(shared):
    return shared.get("/openapi.json").json()


def conforms(spec, response):
    """Check an answer against what is documented for its route and status."""
    path = response.request.path_url.split("?")[0]
    documented = spec["paths"][path][response.request.method.lower()]["responses"]
    assert str(response.status_code) in documented, (path, response.status_code)
    content = documented[str(response.status_code)]["content"]
    media_type = response.headers["Content-Type"].split(";")[0]
    assert media_type in content, (path, media_type)
    reference = content[media_type]["schema"].get("$ref")
    if reference:
        shape = reference.rsplit("/", 1)[1]
        assert shape in spec["components"]["schemas"]
        # The schemas are made from these models, which allow no field that they do not name.
        getattr(answers, shape).model_validate(response.json())
    else:
        assert path in ("/", "/docs", "/metrics", "/openapi.json"), f"{path} has no schema"


def test_answers_are_as_documented(spec, shared, bundle, tmp_path):
    red = pictures.plain()
    answered = [shared.get(path) for path in ("/", "/docs", "/openapi.json", "/health", "/ready", "/metrics")]
    answered += [shared.predict(red), shared.predict(red, red), shared.send(red), shared.predict()]
    answered += [shared.predict(b"text"), shared.predict(pictures.png_header(9, 9)), shared.predict(*[red] * 33)]
    with service(tmp_path, MODEL_DIR=tmp_path) as without_model:
        answered += [without_model.get("/ready"), without_model.predict(red)]
    for response in answered:
        conforms(spec, response)
    predicted = {response.status_code for response in answered if response.request.path_url == "/predict"}
    documented = {int(status) for status in spec["paths"]["/predict"]["post"]["responses"]}
    assert documented - predicted == {408, 500}, "these two take a broken client and a broken model: test_problems"


def test_every_route_is_documented_and_every_documented_route_exists(spec, shared):
    assert spec["openapi"].startswith("3.")
    routes = {(path, method) for path, item in spec["paths"].items() for method in item}
    assert routes == {
        *((path, "get") for path in ("/", "/docs", "/openapi.json", "/health", "/ready", "/metrics")),
        ("/predict", "post"),
    }
    for path, method in routes:
        response = requests.options(shared.address + path, timeout=30)
        assert method.upper() in response.headers["Allow"]


def test_both_ways_to_send_a_picture_are_documented(spec):
    content = spec["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert content.keys() == {"multipart/form-data", "image/*", "application/octet-stream"}
    fields = content["multipart/form-data"]["schema"]["properties"]
    assert fields.keys() == {"file"}
    assert fields["file"]["minItems"] == 1, "an empty form is refused"


def test_every_reference_leads_somewhere(spec):
    def references(node):
        if isinstance(node, dict):
            yield from [node["$ref"]] if "$ref" in node else []
            node = list(node.values())
        if isinstance(node, list):
            for child in node:
                yield from references(child)

    found = set(references(spec))
    assert found
    assert {reference.rsplit("/", 1)[1] for reference in found} <= spec["components"]["schemas"].keys()


def test_every_answer_carries_the_security_headers(shared):
    paths = ["/", "/docs", "/health", "/openapi.json", "/static/page.js", "/docs/static/js/swagger-ui-bundle.js"]
    answered = [shared.get(path) for path in [*paths, "/nothing"]]
    answered += [shared.predict(pictures.plain()), shared.predict(b"text"), shared.get("/predict")]
    answered.append(shared.get("/", headers={"X-Long": "x" * 10_000}))  # which gunicorn refuses
    assert {response.status_code for response in answered} == {200, 404, 405, 415, 431}
    for response in answered:
        found = response.headers
        assert "default-src 'none'" in found["Content-Security-Policy"]
        assert "unsafe" not in found["Content-Security-Policy"]
        assert found["X-Content-Type-Options"] == "nosniff"
        assert found["Referrer-Policy"] == "no-referrer"
        assert found["Cross-Origin-Resource-Policy"] == found["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "camera=()" in found["Permissions-Policy"]


def test_no_page_brings_a_script_or_style_in_its_own_text(shared):
    for path in ("/", "/docs"):
        text = shared.get(path).text
        assert re.findall(r"<script[^>]*>", text)
        assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|javascript:", text)


def test_every_component_is_an_object(spec):
    assert all(isinstance(component, dict) for component in spec["components"].values()), spec["components"]

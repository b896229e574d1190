import pytest

from services.inference import schemas
from tests import bundles
from tests import drawn_images as images
from tests.services.inference.client import create_client


@pytest.fixture(scope="module")
def spec(client):
    return client.get("/openapi.json").json


def test_answers_are_as_documented(client, spec, tmp_path):
    red = images.plain()
    answers = [client.get(path) for path in ("/", "/docs", "/openapi.json", "/health", "/ready", "/metrics")]
    answers += [client.predict(red), client.predict(red, red), client.send(red), client.predict()]
    answers += [client.predict(b"text"), client.predict(images.png_header(9, 9)), client.predict(*[red] * 33)]
    without_model = create_client(model_dir=tmp_path)
    answers += [without_model.get("/ready"), without_model.predict(red)]
    fragile = create_client(model_dir=bundles.write(tmp_path, fragile=True))
    answers.append(fragile.predict(images.plain((255, 0, 0), "PNG")))
    predicted = set()
    for response in answers:
        path, status = response.request.path, str(response.status_code)
        documented = spec["paths"][path][response.request.method.lower()]["responses"]
        content = documented[status]["content"][response.mimetype]
        if path == "/predict":
            predicted.add(status)
        if "$ref" in content["schema"]:
            # These models, which the documentation is made from, allow no further fields.
            name = content["schema"]["$ref"].rsplit("/", 1)[1]
            getattr(schemas, name).model_validate(response.json)
        else:
            assert path in ("/", "/docs", "/metrics", "/openapi.json")
    assert spec["paths"]["/predict"]["post"]["responses"].keys() - predicted == {"408"}


def test_every_route_is_documented(client, spec):
    assert spec["openapi"].startswith("3.")
    routes = {(path, method.upper()) for path, methods in spec["paths"].items() for method in methods}
    pages = ("/", "/docs", "/openapi.json", "/health", "/ready", "/metrics")
    assert routes == {("/predict", "POST"), ("/explain", "POST"), *((path, "GET") for path in pages)}
    for path, method in routes:
        assert method in client.options(path).headers["Allow"]


def test_ways_to_send_an_image_are_documented(spec):
    content = spec["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert content.keys() == {"multipart/form-data", "application/json", "image/*", "application/octet-stream"}
    fields = content["multipart/form-data"]["schema"]["properties"]
    assert fields.keys() == {"file"}
    assert fields["file"]["minItems"] == 1


def test_every_reference_has_its_component(spec):
    def references(node):
        if isinstance(node, dict):
            yield from [node["$ref"]] if "$ref" in node else []
            node = list(node.values())
        if isinstance(node, list):
            for child in node:
                yield from references(child)

    found = {reference.rsplit("/", 1)[1] for reference in references(spec)}
    assert found
    assert found <= spec["components"]["schemas"].keys()
    assert all(isinstance(component, dict) for component in spec["components"].values())

import base64
import threading

import gevent
import numpy as np
import pytest
from PIL import Image
from urllib3 import encode_multipart_formdata

from services.inference.model_queue import ModelQueue
from services.inference.occlusion import SIDE
from services.inference.routes import explain as route
from tests import bundles
from tests import drawn_images as images
from tests.drawn_images import GREEN, RED
from tests.services.inference.client import assert_problem, create_client
from tests.services.inference.test_auth import KEY, bearer
from tests.services.inference.uploads.test_body import Unread


def explain(client, image, kind="image/png", **options):
    return client.post("/explain", data=image, content_type=kind, **options)


def red_left(width=90, height=90):
    """Draw an image that is red on the left and dark elsewhere."""
    image = Image.new("RGB", (width, height), (40, 40, 40))
    image.paste(RED, (0, 0, width // 3, height))
    return images.encode(image)


def test_answer_is_that_of_predict_with_a_map(client):
    image = red_left()
    found, predicted = explain(client, image).json, client.send(image).json
    for name in ("label", "confidence", "uncertain", "model"):
        assert found[name] == predicted[name], name
    values = np.array(found["values"])
    assert found["side"] == SIDE
    assert values.shape == (SIDE, SIDE)
    assert values.max() == 1 and values.min() == 0
    assert values[:, 0].min() > values[:, 4:].max(), "the left is what makes it red"
    assert found["lowest_confidence"] < found["confidence"]
    assert found["area"] == "image"


def test_area_is_the_square_that_the_model_sees(tmp_path):
    cropped = bundles.write(tmp_path, input={"size": bundles.SIZE, "resize": "center-crop"})
    assert explain(create_client(model_dir=cropped), red_left(180, 90)).json["area"] == "center-square"


def test_image_comes_in_every_way_of_predict(client):
    body, kind = encode_multipart_formdata([("file", ("a.png", red_left(), "image/png"))])
    expected = explain(client, red_left()).json
    assert explain(client, body, kind).json == expected
    data_url = "data:image/png;base64," + base64.b64encode(red_left()).decode()
    assert client.post("/explain", json={"image": data_url}).json == expected


def test_uncertain_answer_says_so(client):
    assert explain(client, images.plain((90, 90, 90), "PNG")).json["uncertain"] is True


def test_explanations_do_not_count_as_predictions(client):
    before = client.metric("predictions_total"), client.metric("prediction_confidence_count")
    assert explain(client, red_left()).status_code == 200
    assert (client.metric("predictions_total"), client.metric("prediction_confidence_count")) == before
    assert client.metric("request_count_total", endpoint="/explain", status="200") > 0


def test_refused_images_have_the_problems_of_predict(client):
    assert_problem(explain(client, b"text"), 415, "not-a-picture")
    assert_problem(explain(client, images.BROKEN["png cut in half"]()), 422, "broken-picture")
    assert_problem(explain(client, b""), 400, "no-picture")
    body, kind = encode_multipart_formdata([("file", ("a.png", red_left())), ("file", ("b.png", red_left()))])
    assert_problem(explain(client, body, kind), 413, "too-large", "one can be explained at a time")


def test_limits_of_uploads_hold(bundle, tmp_path):
    small = create_client(model_dir=bundle, max_pixels=5000, max_upload_bytes=2000, max_upload_memory=2000)
    assert_problem(explain(small, red_left()), 422, "broken-picture")
    assert_problem(explain(small, images.noise("PNG")), 413, "too-large", "2,000 bytes")
    assert_problem(explain(create_client(model_dir=tmp_path), red_left()), 503, "no-model")


@pytest.fixture
def held(bundle, monkeypatch):
    """A client whose requests wait, and the event that lets them go on."""
    client, proceed, compute = create_client(model_dir=bundle), threading.Event(), ModelQueue._compute

    def wait(self, request):
        assert proceed.wait(30)
        return compute(self, request)

    monkeypatch.setattr(ModelQueue, "_compute", wait)
    yield client, proceed
    proceed.set()


def start(client, path):
    greenlet = gevent.spawn(client.application.test_client().post, path, data=red_left(), content_type="image/png")
    gevent.sleep(0.1)
    return greenlet


def test_one_explanation_at_a_time(held):
    client, proceed = held
    first = start(client, "/explain")
    shed = client.metric("requests_shed_total")
    refused = explain(client, red_left())
    assert_problem(refused, 503, "full", "again in a second")
    assert refused.headers["Retry-After"] == "1"
    unread = client.post("/explain", environ_overrides={"wsgi.input": Unread(), "CONTENT_LENGTH": "100"})
    assert_problem(unread, 503, "full")
    assert client.metric("requests_shed_total") == shed, "the alert is about predictions"
    proceed.set()
    assert first.get(timeout=30).status_code == 200
    assert explain(client, red_left()).status_code == 200


def test_predictions_go_on_while_an_explanation_runs(held):
    client, proceed = held
    explanation = start(client, "/explain")
    predictions = [start(client, "/predict") for _ in range(3)]
    proceed.set()
    ended = list(gevent.iwait([explanation, *predictions], timeout=30))
    assert ended[-1] is explanation
    assert [greenlet.value.status_code for greenlet in ended] == [200] * 4


def test_explanation_that_gets_no_turn_is_refused(held, monkeypatch):
    client, proceed = held
    monkeypatch.setattr(route, "TIMEOUT", 0.2)
    prediction = start(client, "/predict")
    assert_problem(explain(client, red_left()), 503, "full")
    proceed.set()
    assert prediction.get(timeout=30).status_code == 200
    monkeypatch.undo()
    assert explain(client, red_left()).status_code == 200


def test_key_is_needed_and_the_rate_is_its_own(bundle, tmp_path):
    (tmp_path / "keys").write_text(f"shop:{KEY}\n")
    client = create_client(model_dir=bundle, rate_limit="1/day", api_keys_file=tmp_path / "keys")
    assert_problem(explain(client, red_left()), 401, "unauthorized")
    key = bearer(KEY)
    assert client.send(images.plain(GREEN), headers=key).status_code == 200
    assert [explain(client, red_left(), headers=key).status_code for _ in range(2)] == [200, 429]
    described = client.get("/openapi.json").json["paths"]["/explain"]["post"]
    assert {"401", "429"} <= set(described["responses"])
    assert described["security"] == [{"apiKey": []}]

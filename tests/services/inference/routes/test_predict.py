import pytest

from tests import bundles
from tests import drawn_images as images
from tests.drawn_images import BLUE, GREEN, RED
from tests.services.inference.client import assert_problem, create_client

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # as the service does
MODEL = {"name": "colours", "version": "1"}


@pytest.mark.parametrize(("colour", "label"), [(RED, "red"), (GREEN, "green"), (BLUE, "blue")])
def test_predict_one_image_answers_its_classification(client, colour, label):
    response = client.predict(images.plain(colour))
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
    answer = response.json
    assert answer.keys() == {"label", "confidence", "probabilities", "uncertain", "model"}
    assert (answer["label"], answer["uncertain"], answer["model"]) == (label, False, MODEL)
    assert answer["confidence"] == answer["probabilities"][label] == max(answer["probabilities"].values()) > 0.9
    assert list(answer["probabilities"]) == ["red", "green", "blue"], "the model's own order"
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-9)


def test_predict_several_images_answers_in_order(client):
    answer = client.predict(*map(images.plain, (BLUE, RED, GREEN, BLUE, GREEN))).json
    assert answer.keys() == {"predictions", "model"}
    assert [one["label"] for one in answer["predictions"]] == ["blue", "red", "green", "blue", "green"]
    assert answer["model"] == MODEL
    assert answer["predictions"][0] | {"model": MODEL} == client.predict(images.plain(BLUE)).json


def test_predict_ambiguous_and_out_of_distribution_images_are_flagged(client):
    grey, glaring = (90, 90, 90), (255, 0, 0)
    answers = client.predict(*map(images.plain, (RED, grey, glaring))).json["predictions"]
    assert [one["uncertain"] for one in answers] == [False, True, True]
    assert answers[1]["confidence"] < 0.4 < 0.9 < answers[2]["confidence"], "flagged for two different reasons"


def test_predict_model_without_limits_flags_nothing(tmp_path):
    client = create_client(model_dir=bundles.write(tmp_path, uncertainty=None))
    assert client.predict(images.plain(GREEN)).json["uncertain"] is None


@pytest.mark.parametrize("name", images.ACCEPTED)
def test_predict_every_accepted_format(client, name):
    assert client.predict(images.ACCEPTED[name]()).json["label"] == "red"


@pytest.mark.parametrize("name", images.NOT_PICTURES)
def test_predict_no_image_is_a_problem(client, name):
    assert_problem(client.predict(images.NOT_PICTURES[name]()), 415, "not-a-picture")


@pytest.mark.parametrize("name", images.BROKEN)
def test_predict_broken_image_is_a_problem(client, name):
    assert_problem(client.predict(images.BROKEN[name]()), 422, "broken-picture")


def test_predict_one_bad_image_of_several_is_named(client):
    red = images.plain(RED)
    assert_problem(client.predict(red, red, b"text"), 415, "not-a-picture", "Send one of: JPEG", index=2)
    huge = images.png_header(10**4, 10**4)
    assert_problem(client.predict(huge, red), 422, "broken-picture", "10000 × 10000", index=0)
    assert_problem(client.predict(red, b""), 400, "no-picture", "empty", index=1)


def test_predict_limit_of_pixels_can_be_set(bundle):
    client = create_client(model_dir=bundle, max_pixels=90_000)
    assert client.send(images.plain(RED, "PNG", (300, 300))).status_code == 200
    assert_problem(client.send(images.plain(RED, "PNG", (301, 300))), 422, "broken-picture", "90,000")


def test_predict_pixels_of_a_request_are_limited_together(bundle):
    client = create_client(model_dir=bundle, max_pixels=20_000)
    png, jpeg = images.plain(RED, "PNG", (100, 100)), images.plain(RED, "JPEG", (1000, 1000))
    assert client.predict(png, png).status_code == 200
    assert_problem(client.predict(png, png, images.plain(RED, "PNG", (1, 1))), 413, "too-large", "over 20,000 pixels")
    assert_problem(client.predict(png, b"text", png), 415, "not-a-picture", index=1)
    assert client.send(jpeg).status_code == 200, "it has 15,625 pixels at an eighth of its sides"

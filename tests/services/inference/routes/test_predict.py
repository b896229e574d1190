"""POST /predict over HTTP: answers."""

import io
import os
import zipfile

import pytest

from tests import bundles
from tests import drawn_images as pictures
from tests.drawn_images import BLUE, GREEN, RED
from tests.services.inference.serving import service

MODEL = {"name": "colours", "version": "1"}


@pytest.mark.parametrize(("colour", "label"), [(RED, "red"), (GREEN, "green"), (BLUE, "blue")])
def test_one_picture_as_a_form(shared, colour, label):
    response = shared.predict(pictures.plain(colour))
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
    answer = response.json()
    assert answer.keys() == {"label", "confidence", "probabilities", "uncertain", "model"}
    assert answer["uncertain"] is False
    assert answer["label"] == label
    assert answer["confidence"] == answer["probabilities"][label] == max(answer["probabilities"].values()) > 0.9
    assert list(answer["probabilities"]) == ["red", "green", "blue"], "the model's own order"
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-9)
    assert answer["model"] == MODEL


def test_doubtful_and_unfamiliar_pictures_are_flagged(shared):
    grey, glaring = (90, 90, 90), (255, 0, 0)
    answers = shared.predict(*(pictures.plain(colour) for colour in (RED, grey, glaring))).json()["predictions"]
    assert [one["uncertain"] for one in answers] == [False, True, True]
    assert answers[1]["confidence"] < 0.4 < 0.9 < answers[2]["confidence"], "flagged for two different reasons"


def test_a_model_without_limits_does_not_say_whether_it_is_sure(tmp_path):
    with service(tmp_path, MODEL_DIR=bundles.write(tmp_path / "model", uncertainty=None)) as running:
        assert running.predict(pictures.plain(GREEN)).json()["uncertain"] is None


@pytest.mark.parametrize("kind", ["image/jpeg", "image/png", "image/x-made-up", "application/octet-stream", ""])
def test_one_picture_as_the_body_is_recognised_by_its_content(shared, kind):
    response = shared.send(pictures.plain(GREEN), kind)
    assert response.status_code == 200
    assert response.json() == shared.predict(pictures.plain(GREEN)).json()


def test_a_body_without_a_length_arrives_in_chunks(shared):
    data = pictures.noise(size=(400, 300))
    chunks = (data[start : start + 1000] for start in range(0, len(data), 1000))
    response = shared.send(chunks)
    assert response.status_code == 200
    assert response.json() == shared.send(data).json()


@pytest.mark.parametrize("name", pictures.ACCEPTED)
def test_every_accepted_kind_over_http(shared, name):
    assert shared.predict(pictures.ACCEPTED[name]()).json()["label"] == "red"


def test_several_pictures_are_answered_in_order(shared):
    colours = [BLUE, RED, GREEN, BLUE, GREEN]
    response = shared.predict(*(pictures.plain(colour) for colour in colours))
    answer = response.json()
    assert response.status_code == 200
    assert [one["label"] for one in answer["predictions"]] == ["blue", "red", "green", "blue", "green"]
    assert answer.keys() == {"predictions", "model"}
    assert answer["model"] == MODEL
    alone = shared.predict(pictures.plain(BLUE)).json()
    assert answer["predictions"][0] == {key: value for key, value in alone.items() if key != "model"}


def test_exactly_as_many_pictures_as_allowed(shared):
    picture = pictures.plain(RED)
    assert len(shared.predict(*[picture] * 32).json()["predictions"]) == 32
    response = shared.predict(*[picture] * 33)
    assert response.status_code == 413
    assert "at most 32" in response.json()["detail"]


def test_real_photos_get_an_answer(shared, photo_archives):
    if photo_archives is None:
        photos = [pictures.noise(size=(450, 374), seed=seed) for seed in range(5)]
    else:
        photos = _photos(photo_archives)
    for photo in photos:
        answer = shared.predict(photo).json()
        assert answer["label"] in {"red", "green", "blue"}, answer


def _photos(folder):
    archive = sorted(folder.glob("*.zip"), key=lambda path: path.stat().st_size)[0]
    with zipfile.ZipFile(archive) as opened:
        names = [name for name in opened.namelist() if name.lower().endswith((".jpg", ".jpeg", ".png"))]
        return [opened.read(name) for name in names[:: max(1, len(names) // 20)]]


def test_a_picture_with_a_hostile_name_is_still_a_picture(shared):
    name = "../../etc/passwd\x00.jpg" + "ü" * 300
    boundary = os.urandom(8).hex()
    body = io.BytesIO()
    body.write(f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode())
    body.write(pictures.plain(RED) + f"\r\n--{boundary}--\r\n".encode())
    response = shared.send(body.getvalue(), f"multipart/form-data; boundary={boundary}")
    assert response.json()["label"] == "red"

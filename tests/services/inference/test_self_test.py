import logging

import pytest

from bundle import predictor
from services.inference.routes import predict
from tests import drawn_images as images
from tests.services.inference.client import assert_problem, create_client


def fail(*_):
    raise RuntimeError("no such operator\nmore")


def no_answer(*_):
    return {"label": None, "confidence": 0.5, "probabilities": {}}


@pytest.mark.parametrize(("name", "stub"), [("decode", fail), ("to_answer", fail), ("to_answer", no_answer)])
def test_service_whose_predictions_fail_is_not_ready(bundle, monkeypatch, caplog, name, stub):
    monkeypatch.setattr(predict, name, stub)
    client = create_client(model_dir=bundle)
    assert_problem(client.get("/ready"), 503, "unfit", "no such operator" if stub is fail else "the answer is")
    assert client.get("/health").status_code == 200
    assert client.metric("model_ready") == 0
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info


def test_service_whose_model_fails_on_real_pixels_is_not_ready(bundle, monkeypatch):
    monkeypatch.setattr(predictor.Predictor, "warm_up", lambda self: None)
    monkeypatch.setattr(predictor.Predictor, "answer_with_scores", fail)
    assert_problem(create_client(model_dir=bundle).get("/ready"), 503, "unfit", "no such operator")


def test_self_test_is_neither_counted_nor_logged_nor_limited(bundle, tmp_path, caplog):
    (tmp_path / "keys").write_text("page:0123456789abcdef\n")

    def counts(client):
        timed = client.metric("flask_http_request_duration_seconds_count", endpoint="/predict")
        return client.metric("request_count_total", endpoint="/predict"), client.metric("predictions_total"), timed

    caplog.set_level(logging.INFO)
    limits = {"rate_limit": "1/day", "api_keys_file": tmp_path / "keys", "max_pixels": 1000, "max_in_flight": 1}
    client = create_client(model_dir=bundle, **limits)
    before = counts(client)
    again = create_client(model_dir=bundle, **limits)
    assert counts(again) == before
    assert again.get("/ready").status_code == 200
    assert not [record for record in caplog.records if getattr(record, "endpoint", "") == "/predict"]
    key = {"Authorization": "Bearer 0123456789abcdef"}
    assert again.send(images.plain(size=(8, 8)), headers=key).status_code == 200, "the only one of the day is left"
    assert again.metric("predictions_total") == before[1] + 1

import time

import gevent
import pytest

from services.inference.limits import RateLimiter
from services.inference.problems import Problem
from tests import bundles
from tests import drawn_images as images
from tests.services.inference.client import assert_problem, create_client
from tests.services.inference.test_auth import KEY, OTHER, bearer
from tests.services.inference.uploads.test_body import Unread

RED = images.plain()


def test_full_worker_refuses_predictions_and_answers_the_rest(bundle):
    client = create_client(model_dir=bundle, max_in_flight=2)
    shed = client.metric("requests_shed_total")
    predicted = [gevent.spawn(client.application.test_client().send, RED) for _ in range(2)]
    gevent.sleep(0)  # until both wait for the model
    assert not any(one.ready() for one in predicted)
    assert client.metric("predictions_in_flight") == 2
    refused = client.send(RED)
    assert_problem(refused, 503, "full", "again in a second")
    assert refused.headers["Retry-After"] == "1"
    unread = client.announce(b"", 100, **{"wsgi.input": Unread()})
    assert_problem(unread, 503, "full")
    assert client.metric("requests_shed_total") == shed + 2
    assert client.get("/health").status_code == 200
    assert [one.get().status_code for one in predicted] == [200, 200]
    assert client.metric("predictions_in_flight") == 0
    assert client.send(RED).status_code == 200


def test_slot_is_free_again_after_an_error(tmp_path):
    client = create_client(model_dir=bundles.write(tmp_path, fragile=True), max_in_flight=1)
    statuses = [client.send(image).status_code for image in (images.plain((255, 0, 0), "PNG"), b"text", RED)]
    assert statuses == [500, 415, 200]
    assert client.metric("predictions_in_flight") == 0


def test_rate_is_a_moving_window_per_client(monkeypatch):
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    limiter = RateLimiter("3/minute")
    for _ in range(3):
        limiter.take("a")
        now += 10
    with pytest.raises(Problem) as refused:
        limiter.take("a")
    assert (refused.value.kind.name, refused.value.headers) == ("too-many-requests", {"Retry-After": "30"})
    limiter.take("b")
    now += 31
    limiter.take("a")
    with pytest.raises(Problem):
        limiter.take("a")


def test_rate_of_predictions_is_limited_by_address(bundle):
    client = create_client(model_dir=bundle, rate_limit="2/day")
    assert [client.send(image).status_code for image in (RED, b"text", RED)] == [200, 415, 429]
    refused = client.announce(b"", 100, **{"wsgi.input": Unread()})
    assert_problem(refused, 429, "too-many-requests", "2/day")
    assert 0 < int(refused.headers["Retry-After"]) <= 86400
    assert client.send(RED, environ_base={"REMOTE_ADDR": "192.0.2.1"}).status_code == 200
    assert client.get("/ready").status_code == 200
    assert "429" in client.get("/openapi.json").json["paths"]["/predict"]["post"]["responses"]


def test_rate_is_limited_by_owner_of_a_key(bundle, tmp_path):
    (tmp_path / "keys").write_text(f"shop:{KEY}\nmonitor:{OTHER}\n")
    client = create_client(model_dir=bundle, rate_limit="2/day", api_keys_file=tmp_path / "keys")
    for key in (KEY, OTHER):
        assert [client.send(RED, headers=bearer(key)).status_code for _ in range(3)] == [200, 200, 429]
    assert client.send(RED, headers=bearer("no-such-key-is-known")).status_code == 401

"""Answers of clients and of the monitor are counted apart, and signals have their place among the reference's."""

import pytest

from bundle.signals import POSITIONS
from tests import bundles
from tests.drawn_images import BLUE, RED, WHITE, plain
from tests.services.inference.client import create_client

GREY = (90, 90, 90)
REFERENCE = bundles.manifest_for(b"", bundles.CLASSES, bundles.SIZE)["reference"] | {
    "images": 40,
    "signals": {
        "brightness": {"edges": [0.3, 0.6], "shares": [0.25, 0.5, 0.25]},
        "label": {"edges": [0.0, 1.0], "shares": [0.5, 0.25, 0.25]},
    },
    "uncertain": 0.05,
    "confidence": {"mean": 0.9, "deviation": 0.1},
}
MARKED = {"headers": {"X-Request-Source": "monitor"}}


@pytest.fixture
def client(tmp_path):
    return create_client(model_dir=bundles.write(tmp_path, name="placed", version="3", reference=REFERENCE))


def counts(client, source):
    """Return a source's images, uncertain ones, sum of the confidences, and images up to places of brightness."""
    names = ("predictions_total", "uncertain_predictions_total", "predictions_expected_correct_total")
    brightness = [
        client.metric("prediction_signal_position_bucket", source=source, signal="brightness", le=str(place))
        for place in (0.2, 0.25, 0.75, 1.0)
    ]
    return [*(client.metric(name, source=source) for name in names), *brightness]


def changes(client, source, send):
    before = counts(client, source)
    assert send().status_code == 200
    return [round(after - old, 3) for after, old in zip(counts(client, source), before, strict=True)]


def test_signals_are_placed_among_the_reference(client):
    dark, middle, bright = BLUE, GREY, WHITE
    found = changes(client, "client", lambda: client.predict(*map(plain, (dark, middle, middle, bright))))
    assert found[0] == 4 and found[3:] == [0, 1, 3, 4]
    assert found[1] == 3, "grey and white look like every class"


def test_confidences_add_up_to_the_expected_correct_answers(client):
    answers = []

    def send():
        response = client.predict(plain(RED), plain(GREY))
        answers.extend(response.json["predictions"])
        return response

    found = changes(client, "client", send)
    assert found[2] == pytest.approx(sum(answer["confidence"] for answer in answers), abs=1e-3)


def test_marked_requests_count_for_the_monitor_alone(client):
    requests = client.metric("request_count_total", endpoint="/predict", status="200")
    clients = counts(client, "client")
    assert changes(client, "monitor", lambda: client.predict(plain(RED), **MARKED))[0] == 1
    assert counts(client, "client") == clients
    assert client.metric("request_count_total", endpoint="/predict", status="200") == requests + 1


@pytest.mark.parametrize("value", ["", "Monitor", "monitor, client", "browser"])
def test_other_values_of_the_header_count_for_clients(client, value):
    headers = {"X-Request-Source": value}
    assert changes(client, "client", lambda: client.predict(plain(RED), headers=headers))[0] == 1


def test_reference_is_exposed_beside_the_live_positions(client):
    shares = {
        place: client.metric("model_reference_position_share", signal="brightness", le=str(place))
        for place in POSITIONS
    }
    assert (shares[0.2], shares[0.25], shares[0.7], shares[0.75], shares[1.0]) == (0, 0.25, 0.25, 0.75, 1)
    model = {"name": "placed", "version": "3"}
    assert client.metric("model_reference_images", **model) == 40
    assert client.metric("model_reference_uncertain_share", **model) == 0.05
    assert client.metric("model_reference_confidence_mean", **model) == 0.9
    assert client.metric("model_reference_confidence_deviation", **model) == 0.1


def test_older_bundle_is_served_without_a_reference(tmp_path):
    client = create_client(model_dir=bundles.write(tmp_path, name="older"))
    assert changes(client, "client", lambda: client.predict(plain(RED)))[0] == 1
    for name in ("images", "uncertain_share", "confidence_mean"):
        assert not client.metric(f"model_reference_{name}", name="older")

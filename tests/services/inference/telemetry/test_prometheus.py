import pytest

from bundle.manifest import Reference
from services.inference.telemetry.prometheus import CONFIDENCE, cumulative_shares
from tests import bundles
from tests import drawn_images as images
from tests.drawn_images import BLUE, RED
from tests.services.inference.client import create_client

REFERENCE = {
    "predicted_classes": {"red": 0.5, "green": 0.3, "blue": 0.2},
    # As numpy writes single precision; 0.6 to 0.95 is one bin.
    "confidence_bins": [0.3333333432674408, 0.6000000238418579, 0.949999988079071, 1.0],
    "confidence_shares": [0.1, 0.2, 0.7],
}


def test_shares_are_given_at_edges_of_the_reference_and_outside_of_it():
    shares = cumulative_shares(Reference.model_validate(REFERENCE), CONFIDENCE)
    assert shares == pytest.approx({0.1: 0, 0.2: 0, 0.3: 0, 0.6: 0.1, 0.95: 0.3, 1.0: 1})


def test_reference_that_ends_early_is_complete_above_its_end():
    reference = {"predicted_classes": {}, "confidence_bins": [0.2, 0.4, 0.6], "confidence_shares": [0.5, 0.5]}
    shares = cumulative_shares(Reference.model_validate(reference), (0.1, 0.2, 0.3, 0.4, 0.9))
    assert shares == pytest.approx({0.1: 0, 0.2: 0, 0.4: 0.5, 0.9: 1})


def labelled(client, name, model):
    """Return the samples of this name of one model or its classes, by their other label or none."""
    found = {tuple(value for _, value in sorted(labels)): value for labels, value in client.samples(name).items()}
    return {labels: value for labels, value in found.items() if any(label.startswith(model) for label in labels)}


def test_manifests_figures_are_metrics(tmp_path):
    client = create_client(model_dir=bundles.write(tmp_path, name="figures", version="7", reference=REFERENCE))
    assert labelled(client, "model_info", "figures") == {("figures", "7"): 1}
    assert labelled(client, "model_held_out_accuracy", "figures") == {("figures", "7"): 1}
    assert client.metric("model_reference_prediction_share", label="green") == 0.3
    assert client.metric("model_reference_confidence_share", le="0.95") == pytest.approx(0.3)
    # Edges are named as in the live histogram, or the two could not be compared.
    edges, live = (
        {dict(labels)["le"] for labels in client.samples(name)}
        for name in ("model_reference_confidence_share", "prediction_confidence_bucket")
    )
    assert edges < live


def test_bundle_without_an_evaluation_has_no_such_figures(tmp_path):
    classes = ["unmeasured-a", "unmeasured-b"]
    folder = bundles.write(tmp_path, classes, name="unmeasured", metrics=None, reference=None)
    client = create_client(model_dir=folder)
    assert labelled(client, "model_info", "unmeasured")
    assert not labelled(client, "model_held_out_accuracy", "unmeasured")
    assert not labelled(client, "model_reference_prediction_share", "unmeasured")


def test_series_start_at_zero(tmp_path):
    client = create_client(model_dir=bundles.write(tmp_path, classes=["fresh-a", "fresh-b"]))
    assert labelled(client, "predictions_total", "fresh") == {
        (label, source): 0 for label in ("fresh-a", "fresh-b") for source in ("client", "monitor")
    }
    assert labelled(client, "prediction_confidence_count", "fresh") == {("fresh-a",): 0, ("fresh-b",): 0}
    counted = {labels for labels in client.samples("request_count_total") if ("endpoint", "/predict") in labels}
    assert {("status", status) for status in ("200", "500", "503")} <= frozenset().union(*counted)
    assert client.samples("requests_shed_total")


def test_requests_and_their_images_are_counted(bundle):
    client = create_client(model_dir=bundle)  # with counters that start at what others have counted

    def counts():
        names = ("request_count_total", "flask_http_request_duration_seconds_count")
        requests = [client.metric(name, endpoint="/predict", method="POST", status="200") for name in names]
        high = client.metric("prediction_confidence_bucket", label="red", le="1.0")
        low = client.metric("prediction_confidence_bucket", label="red", le="0.9")
        return *requests, *(client.metric("predictions_total", label=label) for label in ("red", "blue")), high, low

    before = counts()
    assert client.predict(*map(images.plain, (RED, BLUE, BLUE))).status_code == 200
    changes = [after - old for after, old in zip(counts(), before, strict=True)]
    assert changes == [1, 1, 1, 2, 1, 0]


def test_clients_cannot_invent_series(client):
    def stray(number):
        client.get(f"/made/up/{number}")
        client.post(f"/static/{number}")
        client.open("/health", method=f"MADE-UP-{number}")

    def series():
        return {name: client.samples(name).keys() for name in ("request_count_total", *timers)}

    timers = ["flask_http_request_duration_seconds_count", "flask_http_request_total"]
    stray(0)
    client.get("/metrics")
    known, before = series(), client.metric("request_count_total", endpoint="/health", method="OTHER", status="405")
    assert all(known.values())
    for number in range(1, 5):
        stray(number)
    assert series() == known
    assert client.metric("request_count_total", endpoint="/health", method="OTHER", status="405") == before + 4
    assert client.metric("request_count_total", endpoint="other", method="GET", status="404")
    assert client.metric("request_count_total", endpoint="other", method="POST", status="405")

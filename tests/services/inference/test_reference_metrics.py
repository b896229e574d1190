"""The manifest's numbers in /metrics: as they are, however many workers say them, and never guessed."""

import concurrent.futures
import signal
import time

import pytest
from services.inference.reference_metrics import cumulative_shares

from bundle.manifest import Reference
from services.inference.telemetry import CONFIDENCE
from tests import bundles
from tests.services.inference.serving import service

REFERENCE = {
    "predicted_classes": {"red": 0.5, "green": 0.3, "blue": 0.2},
    # As numpy writes single precision; 0.6 to 0.95 is one bin.
    "confidence_bins": [0.3333333432674408, 0.6000000238418579, 0.949999988079071, 1.0],
    "confidence_shares": [0.1, 0.2, 0.7],
}


def test_shares_are_given_at_edges_that_the_reference_has_and_outside_of_it():
    shares = cumulative_shares(Reference.model_validate(REFERENCE), CONFIDENCE)
    assert shares == pytest.approx({0.1: 0, 0.2: 0, 0.3: 0, 0.6: 0.1, 0.95: 0.3, 1.0: 1})


def test_a_reference_that_ends_early_is_complete_above_its_end():
    reference = {"predicted_classes": {}, "confidence_bins": [0.2, 0.4, 0.6], "confidence_shares": [0.5, 0.5]}
    shares = cumulative_shares(Reference.model_validate(reference), (0.1, 0.2, 0.3, 0.4, 0.9))
    assert shares == pytest.approx({0.1: 0, 0.2: 0, 0.4: 0.5, 0.9: 1})


def samples(running, name):
    """The samples of that name, by the values of their labels in the order of the labels' names."""
    found = {labels: value for (sample, labels), value in running.samples().items() if sample == name}
    return {tuple(value for _, value in sorted(labels)): value for labels, value in found.items()}


def wait_for_answers_of_both_workers(running):
    """Only a worker that answers has set its gauges; one that is still loading has none to be added up."""
    deadline = time.monotonic() + 30
    while len({line["process"] for line in running.lines() if line.get("endpoint") == "/health"}) < 2:
        assert time.monotonic() < deadline, running.log.read_text()
        # Several at a time: one after the other they may all go to the same worker.
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(running.get, ["/health"] * 8))


def test_two_workers_say_what_the_manifest_says_once(tmp_path):
    bundles.write(tmp_path / "bundle", version="7", reference=REFERENCE)
    with service(tmp_path, MODEL_DIR=tmp_path / "bundle") as running:
        wait_for_answers_of_both_workers(running)
        assert samples(running, "model_held_out_accuracy") == {("colours", "7"): 1}
        assert samples(running, "model_reference_prediction_share") == {("red",): 0.5, ("green",): 0.3, ("blue",): 0.2}
        confidences = samples(running, "model_reference_confidence_share")
        assert confidences[("0.95",)] == pytest.approx(0.3) and confidences[("1.0",)] == pytest.approx(1)
        # Edges in the same words as the live histogram's, or the two could not be compared.
        assert {edge for (edge,) in confidences} < {
            edge for _, edge in samples(running, "prediction_confidence_bucket")
        }


def test_a_bundle_that_was_never_evaluated_is_served_without(tmp_path):
    bundles.write(tmp_path / "bundle", metrics=None, reference=None)
    with service(tmp_path, MODEL_DIR=tmp_path / "bundle") as running:
        running.wait_for_workers()
        assert running.get("/ready").status_code == 200
        names = {name for name, _ in running.samples()}
        assert "model_info" in names
        assert not [name for name in names if name.startswith(("model_held_out", "model_reference"))]


def test_a_new_models_numbers_replace_the_old_ones(tmp_path):
    bundles.write(tmp_path / "bundle", version="1")
    with service(tmp_path, MODEL_DIR=tmp_path / "bundle") as running:
        running.wait_for_workers()
        before = set(running.workers())
        bundles.write(tmp_path / "bundle", classes=["red", "green"], version="2", reference=None)
        running.process.send_signal(signal.SIGHUP)
        while before & set(running.workers()):
            time.sleep(0.05)
        running.wait_for_workers()
        assert samples(running, "model_held_out_accuracy") == {("colours", "2"): 1}
        assert samples(running, "model_reference_prediction_share") == {}

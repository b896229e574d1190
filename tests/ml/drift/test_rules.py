"""The rules agree with Prometheus, and leave alone what is like the reference."""

import subprocess

import numpy as np
import pytest
import yaml

from bundle.manifest import Manifest
from bundle.signals import POSITIONS, SIGNALS, Outputs
from ml.drift.rules import Comparison, NoReferenceError
from ml.evaluation.reference import reference
from tests import bundles, prometheus
from tests.kustomize import drift_windows

CLASSES = ["red", "green", "blue"]
RECORDS = {
    "uncertain answers": ("job:uncertain_predictions:ratio1h", "job:model_reference_uncertain_share:ceiling"),
    "estimated accuracy": ("job:estimated_accuracy:mean1h", "job:estimated_accuracy:floor1h"),
}
SIGNAL = "job_signal:prediction_signal_position:{}1h{{signal='{}'}}"
ALERTS = {"uncertain answers": "UncertainAnswersHigh", "estimated accuracy": "EstimatedAccuracyLow"}


def draw(images, seed, shift=0.0):
    """Draw answers; a shift makes images darker, the model less sure and the first class more frequent."""
    random = np.random.default_rng(seed)
    top = random.choice(3, images, p=[(1 + 2 * shift) / 3, (1 - shift) / 3, (1 - shift) / 3])
    confidences = (1 - (0.02 + shift / 3) * random.exponential(size=images)).clip(0.4, 1)
    probabilities = np.repeat((1 - confidences)[:, None] / 2, 3, 1)
    probabilities[np.arange(images), top] = confidences
    uncertain = random.random(images) < 0.01 + shift / 4
    signals = random.normal(size=(images, len(SIGNALS)))
    signals[:, 0] -= 2 * shift
    signals[:, 4:] = np.stack([confidences, top], 1)
    return Outputs(probabilities.astype(np.float32), uncertain, signals.astype(np.float32))


def manifest_of(found):
    manifest = bundles.manifest_for(b"", CLASSES, 32)
    if found:
        values = reference(CLASSES, found.probabilities, found.signals, found.uncertain)
        manifest["reference"] = values.model_dump()
    return Manifest.model_validate(manifest)


@pytest.fixture(scope="module")
def comparison():
    return Comparison(manifest_of(draw(1500, 0)))


def compare(comparison, found):
    places = comparison.places(found.signals)
    window = comparison.window(places, found.probabilities.max(1), found.uncertain)
    return window, comparison.check(window)


def as_promtool(comparison, name, window, findings):
    """Return the promtool test that Prometheus computes the same values, limits and verdicts."""
    about = comparison.reference
    gauges = {
        "images": about.images,
        "uncertain_share": about.uncertain,
        "confidence_mean": about.confidence.mean,
        "confidence_deviation": about.confidence.deviation,
    }
    counters = drift_windows.answered(window.images, window.cumulative, window.uncertain, window.expected_correct)
    expressions = {}
    for finding in findings:
        value, limit = RECORDS.get(finding.rule) or (SIGNAL.format(n, finding.rule) for n in ("distance", "limit"))
        expressions[f"abs({value} - {min(finding.value, 0.999999)!r}) < bool 1e-9"] = 1
        expressions[f"abs({limit} - {finding.limit!r}) < bool 1e-9"] = 1
        alert = ALERTS.get(finding.rule)
        labels = f"alertname='{alert}'" if alert else f"signal='{finding.rule}'"
        expressions[f"count(ALERTS{{{labels},window='1h'}}) or vector(0)"] = int(finding.drifted)
    return {
        "name": name,
        "interval": "1m",
        "input_series": [*drift_windows.referred(gauges, comparison.cumulative, len(CLASSES)), *counters],
        "promql_expr_test": [
            {"expr": f"sum({one})", "eval_time": "1h", "exp_samples": [{"labels": "{}", "value": value}]}
            for one, value in expressions.items()
        ],
    }


def test_prometheus_computes_the_same(comparison, tmp_path):
    tests, verdicts = [], set()
    for seed, (images, shift) in enumerate([(4, 1), (30, 0), (60, 0.2), (200, 0.1), (200, 0.5), (1000, 0.03), (25, 1)]):
        window, findings = compare(comparison, draw(images, 10 + seed, shift))
        verdicts |= {(finding.rule, finding.drifted) for finding in findings}
        tests.append(as_promtool(comparison, f"{images} images, shifted by {shift}", window, findings))
    either = {"brightness", "confidence", "label", *RECORDS}
    assert verdicts >= {(rule, drifted) for rule in either for drifted in (True, False)}
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump(drift_windows.document(tests)))
    done = subprocess.run([prometheus.binary("promtool"), "test", "rules", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("images", [1, 2, 5, 50, 1000])
def test_images_like_the_reference_do_not_drift(comparison, images):
    drifted = [
        finding
        for seed in range(100)
        for finding in compare(comparison, draw(images, 1000 + seed))[1]
        if finding.drifted
    ]
    assert not drifted


def test_few_images_of_another_kind_drift(comparison):
    drifted = {finding.rule for finding in compare(comparison, draw(100, 5, 1))[1] if finding.drifted}
    assert drifted == {"brightness", "confidence", "label", *RECORDS}


def test_bundle_without_reference_is_named():
    for manifest in (manifest_of(None), manifest_of(None).model_copy(update={"reference": None})):
        with pytest.raises(NoReferenceError, match=r"colours 1 .* ml\.drift reference"):
            Comparison(manifest)


def test_every_signal_of_the_reference_is_compared(comparison):
    assert list(comparison.cumulative) == list(SIGNALS)
    assert comparison.cumulative["label"][-1] == 1 and len(comparison.cumulative["label"]) == len(POSITIONS)

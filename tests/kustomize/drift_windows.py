"""Series of a service for promtool, as Prometheus scrapes them while a window of images is answered."""

from collections.abc import Mapping, Sequence
from typing import Any

from bundle.signals import POSITIONS, SIGNALS
from tests.kustomize.prometheus_config import FOLDER

RULES = str(FOLDER / "drift.yml")
MODEL = 'job="mlops-service",pod="a",name="m",version="1"'
EVEN = dict.fromkeys(SIGNALS, POSITIONS)
REFERENCE = {"images": 2271, "uncertain_share": 0.01, "confidence_mean": 0.98, "confidence_deviation": 0.06}


def answered(
    images: float,
    cumulative: Mapping[str, Sequence[float]] = EVEN,
    uncertain: float = 0,
    expected_correct: float | None = None,
    source: str = "client",
) -> list[dict[str, str]]:
    """Return the counters of one source: zero until images are answered, after five minutes."""

    def counter(name: str, number: float, labels: str = "") -> dict[str, str]:
        return {
            "series": f'{name}{{job="mlops-service",pod="a",source="{source}"{labels}}}',
            "values": f"0x4 {number:.12g}x1500",
        }

    right = 0.98 * images if expected_correct is None else expected_correct
    series = [
        counter("predictions_total", images, ',label="cat"'),
        counter("uncertain_predictions_total", uncertain),
        counter("predictions_expected_correct_total", right),
    ]
    name = "prediction_signal_position"
    for signal, shares in cumulative.items():
        series.append(counter(f"{name}_count", images, f',signal="{signal}"'))
        for place, share in zip(POSITIONS, shares, strict=True):
            series.append(counter(f"{name}_bucket", share * images, f',signal="{signal}",le="{place}"'))
    return series


def referred(
    reference: Mapping[str, float] = REFERENCE, cumulative: Mapping[str, Sequence[float]] = EVEN, classes: int = 2
) -> list[dict[str, str]]:
    """Return the gauges of a manifest's reference."""
    gauges = {f"model_reference_{name}{{{MODEL}}}": value for name, value in reference.items()}
    for label in range(classes):
        gauges[f'model_reference_prediction_share{{job="mlops-service",pod="a",label="{label}"}}'] = 1 / classes
    for signal, shares in cumulative.items():
        for place, share in zip(POSITIONS, shares, strict=True):
            name = f'model_reference_position_share{{job="mlops-service",pod="a",signal="{signal}",le="{place}"}}'
            gauges[name] = share
    return [{"series": name, "values": f"{value:.17g}x1500"} for name, value in gauges.items()]


def document(tests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a promtool document for the drift rules."""
    return {"rule_files": [RULES], "evaluation_interval": "1m", "tests": list(tests)}


def alerts() -> dict[str, Any]:
    """Return the promtool tests of the alerts."""
    lowest = [1.0] * len(POSITIONS)
    dark = EVEN | {"brightness": lowest}
    monitored = answered(500, dict.fromkeys(SIGNALS, lowest), 500, 300, source="monitor")
    cases: dict[str, tuple[list[dict[str, str]], dict[str, tuple[dict[str, str], str]]]] = {
        "images like the reference's, and others of the monitor": ([*answered(200), *monitored], {}),
        "few images, all of them dark and half of them uncertain": (answered(4, dark, 2, 2.5), {}),
        "dark images": (
            answered(200, dark),
            {
                "ImageDrift": (
                    {"signal": "brightness"},
                    "brightness of the images of the last {w} differs from the reference by 95%; the limit "
                    "for 200 images is 16.41%.",
                )
            },
        ),
        "answers of one class": (
            answered(200, EVEN | {"label": lowest}),
            {
                "PredictionDrift": (
                    {"signal": "label"},
                    "label of the answers of the last {w} differs from the reference by 95%; the limit "
                    "for 200 images is 16.41%.",
                )
            },
        ),
        "one answer in ten is uncertain": (
            answered(200, uncertain=20),
            {
                "UncertainAnswersHigh": (
                    {},
                    "10% of 200 answers of the last {w} are flagged as uncertain; of the reference, 1% were.",
                )
            },
        ),
        "every answer is uncertain": (
            answered(20, uncertain=20),
            {
                "UncertainAnswersHigh": (
                    {},
                    "100% of 20 answers of the last {w} are flagged as uncertain; of the reference, 1% were.",
                )
            },
        ),
        "answers are less sure": (
            answered(200, expected_correct=180),
            {
                "EstimatedAccuracyLow": (
                    {},
                    "By the confidences, 90% of 200 answers of the last {w} are right; of the reference, 98%.",
                )
            },
        ),
    }
    return document([_case(name, series, fired) for name, (series, fired) in cases.items()])


DESCRIPTIONS = {
    "ImageDrift": "Clients send other images than the model was measured on.",
    "PredictionDrift": "The model answers otherwise than it did when it was measured.",
    "UncertainAnswersHigh": "Clients send images that the model does not know.",
    "EstimatedAccuracyLow": "The model is less sure than it was. No labels are involved, and the estimate has "
    "assumptions.",
}


def _case(name: str, series: list[dict[str, str]], fired: Mapping[str, tuple[dict[str, str], str]]) -> dict[str, Any]:
    url = "https://example.com"
    expected: dict[str, list[dict[str, Any]]] = {alert: [] for alert in DESCRIPTIONS}
    for alert, (labels, summary) in fired.items():
        for window in ("1h", "1d"):
            expected[alert].append(
                {
                    "exp_labels": {"job": "mlops-service", "severity": "ticket", "window": window} | labels,
                    "exp_annotations": {
                        "summary": summary.format(w=window),
                        "description": DESCRIPTIONS[alert],
                        "runbook_url": f"{url}/blob/HEAD/docs/runbooks/{alert}.md",
                    },
                }
            )
    return {
        "name": name,
        "interval": "1m",
        "external_labels": {"repository": url},
        "input_series": [*referred(), *series],
        # An hour ends before the images count in no window of an hour any more.
        "alert_rule_test": [
            {"alertname": alert, "eval_time": "1h", "exp_alerts": alerts} for alert, alerts in expected.items()
        ],
    }

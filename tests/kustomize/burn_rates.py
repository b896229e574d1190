"""promtool tests of the burn-rate alerts: for each window, cases just above and just below its burn rate."""

from typing import Any

from tests.kustomize.prometheus_config import FOLDER

BUDGETS = {"PredictErrorBudgetBurn": 0.005, "PredictLatencyBudgetBurn": 0.01}
SEVERITIES = {"1h": "page", "6h": "page", "1d": "ticket", "3d": "ticket"}
STEP = 2  # minutes between two samples
PER_MINUTE = 1000  # requests
REPOSITORY = "https://example.com"

# The end in hours; the burn rates until then, after healthy days, each for so many hours; the windows that fire.
CASES: dict[str, tuple[int, list[tuple[float, float]], list[str]]] = {
    "an hour fires": (78, [(1, 15)], ["1h"]),
    "an hour is just below": (78, [(1 / 5, 70)], []),
    "an hour is above, its last five minutes are below": (78, [(5 / 6, 20), (1 / 6, 14)], []),
    "six hours fire": (78, [(6, 6.2)], ["6h"]),
    "six hours are just below": (78, [(5 / 2, 14)], []),
    "six hours are above, the last half hour is below": (78, [(5, 8), (1, 5.8)], []),
    "a day fires, and so do three": (144, [(72, 3.1)], ["1d", "3d"]),
    "a day is just below": (96, [(12, 5.8)], []),
    "a day is above, the last two hours are below": (144, [(66, 4), (6, 2.8)], ["3d"]),
    "three days fire": (144, [(72, 1.2)], ["3d"]),
    "three days are just below": (144, [(36, 1.9)], []),
    "three days are above, the last six hours are below": (144, [(60, 1.4), (12, 0.8)], []),
}


def document(alert: str) -> dict[str, Any]:
    """Return the promtool tests of an alert."""
    series = {"PredictErrorBudgetBurn": _errors, "PredictLatencyBudgetBurn": _latencies}[alert]
    tests = []
    for name, (hours, burns, windows) in CASES.items():
        healthy = hours - sum(duration for duration, _ in burns)
        bad = [(healthy, 0.0), *((duration, rate * BUDGETS[alert] * PER_MINUTE) for duration, rate in burns)]
        labels = (
            f'{{alertname="{alert}",job="mlops-service",severity="{SEVERITIES[w]}",window="{w}"}}' for w in windows
        )
        expression = f'sum by (alertname, job, severity, window) (ALERTS{{alertname="{alert}",alertstate="firing"}})'
        expected = [{"labels": each, "value": 1} for each in labels]
        tests.append(
            {
                "name": name,
                "interval": f"{STEP}m",
                "input_series": series(bad, PER_MINUTE),
                "promql_expr_test": [{"expr": expression, "eval_time": f"{hours}h", "exp_samples": expected}],
            }
        )
    tests += [_few(alert, series, 9.5, fires=False), _few(alert, series, 10.5, fires=True)]
    rules = str(FOLDER / "objectives.yml")
    return {"rule_files": [rules], "evaluation_interval": "6h", "tests": tests}


def _few(alert: str, series: Any, number: float, fires: bool) -> dict[str, Any]:
    """Return the test of so few requests in the last hour, all bad: ten fire in every window, fewer in none."""
    what, budget = {
        "PredictErrorBudgetBurn": ("requests to /predict failed", "0.5%"),
        "PredictLatencyBudgetBurn": ("predictions took longer than 0.5 s", "1.0%"),
    }[alert]
    descriptions = {
        "1h": "14.4 times what the objective allows; the budget of 30 days would last two.",
        "6h": "6 times what the objective allows; the budget of 30 days would last five.",
        "1d": "3 times what the objective allows; the budget of 30 days would last ten.",
        "3d": "The budget of 30 days is being used up.",
    }
    fired = [
        {
            "exp_labels": {"job": "mlops-service", "severity": severity, "window": window},
            "exp_annotations": {
                "summary": f"100% of the {what} in the last {window}; {budget} may, over 30 days.",
                "description": descriptions[window],
                "runbook_url": f"{REPOSITORY}/blob/HEAD/docs/runbooks/{alert}.md",
            },
        }
        for window, severity in SEVERITIES.items()
    ]
    return {
        "name": f"{number} bad requests in an hour",
        "interval": f"{STEP}m",
        "external_labels": {"repository": REPOSITORY},
        "input_series": series([(77, 0.0), (1, number / 60)], 0),
        "alert_rule_test": [{"alertname": alert, "eval_time": "78h", "exp_alerts": fired if fires else []}],
    }


def _counter(segments: list[tuple[float, float]]) -> str:
    """Return a counter in promtool's notation, from durations in hours and increases per minute."""
    parts, total = ["0"], 0.0
    for hours, rate in segments:
        samples, increase = round(hours * 60 / STEP), rate * STEP
        parts.append(f"{total + increase:.10g}+{increase:.10g}x{samples - 1}")
        total += samples * increase
    return " ".join(parts)


def _errors(bad: list[tuple[float, float]], total: int) -> list[dict[str, str]]:
    """Return two pods' answers; neither 4xx nor other routes may hide errors."""
    name = 'request_count_total{{job="mlops-service",endpoint="{}",status="{}",pod="{}"}}'
    whole = sum(hours for hours, _ in bad)
    good = [(hours, max(total - rate, 0) / 2) for hours, rate in bad]
    return [
        {"series": name.format("/predict", "200", "a"), "values": _counter(good)},
        {"series": name.format("/predict", "200", "b"), "values": _counter(good)},
        {"series": name.format("/predict", "500", "a"), "values": _counter([(h, rate / 2) for h, rate in bad])},
        {"series": name.format("/predict", "503", "b"), "values": _counter([(h, rate / 2) for h, rate in bad])},
        {"series": name.format("/predict", "415", "a"), "values": _counter([(whole, 9000)])},
        {"series": name.format("/health", "200", "a"), "values": _counter([(whole, 9000)])},
    ]


def _latencies(bad: list[tuple[float, float]], total: int) -> list[dict[str, str]]:
    """Return counts of predictions and of the fast ones; fast refusals may not hide slow predictions."""
    name = 'flask_http_request_duration_seconds_{}{{job="mlops-service",endpoint="/predict",status="{}"{}}}'
    whole = sum(hours for hours, _ in bad)
    fast = [(hours, max(total - rate, 0)) for hours, rate in bad]
    every = [(hours, max(total, rate)) for hours, rate in bad]
    bucket = ',le="0.5"'
    return [
        {"series": name.format("count", "200", ""), "values": _counter(every)},
        {"series": name.format("bucket", "200", bucket), "values": _counter(fast)},
        {"series": name.format("count", "503", ""), "values": _counter([(whole, 9000)])},
        {"series": name.format("bucket", "503", bucket), "values": _counter([(whole, 9000)])},
    ]

"""The repository's dashboards and their queries."""

import json
from collections.abc import Iterator
from typing import Any

from tests import servers

FOLDER = servers.ROOT / "kustomize" / "base" / "grafana" / "dashboards"
UIDS = ("service", "model")
Panel = dict[str, Any]


def load(uid: str) -> dict[str, Any]:
    """Read the dashboard with this uid, which is also its file's name."""
    dashboard: dict[str, Any] = json.loads((FOLDER / f"{uid}.json").read_text())
    return dashboard


def targets(dashboard: dict[str, Any]) -> Iterator[tuple[Panel, dict[str, Any]]]:
    """Yield every query with its panel."""
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel, target


def interpolate(expression: str) -> str:
    """Replace the variables of an expression as Grafana does, with all pods selected."""
    # The longer name first: one begins with the other.
    for name, value in {"__rate_interval": "1m", "__range": "15m", "pod": ".*"}.items():
        expression = expression.replace(f"${name}", value)
    assert "$" not in expression, f"an undefined variable: {expression}"
    return expression

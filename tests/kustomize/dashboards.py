"""The repository's dashboards, and their questions as Grafana would ask them."""

import json
from collections.abc import Iterator
from typing import Any

from tests import servers

FOLDER = servers.ROOT / "kustomize" / "base" / "grafana" / "dashboards"
Panel = dict[str, Any]


def load(uid: str) -> dict[str, Any]:
    """The dashboard with that uid, which is its file's name too."""
    dashboard: dict[str, Any] = json.loads((FOLDER / f"{uid}.json").read_text())
    return dashboard


def targets(dashboard: dict[str, Any]) -> Iterator[tuple[Panel, dict[str, Any]]]:
    """Every question, with the panel that asks it."""
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel, target


def asked(expression: str, **variables: str) -> str:
    """An expression with its variables replaced, all pods chosen."""
    # The longer name first: one begins with the other.
    for name, value in ({"__rate_interval": "1m", "__range": "15m", "pod": ".*"} | variables).items():
        expression = expression.replace(f"${name}", value)
    assert "$" not in expression, f"a variable that nobody sets: {expression}"
    return expression

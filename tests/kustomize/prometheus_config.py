"""The repository's Prometheus configuration, with static targets instead of service discovery."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests import servers

FOLDER = servers.ROOT / "kustomize" / "base" / "prometheus"
RUNBOOKS = servers.ROOT / "docs" / "runbooks"
QUERY = re.compile(r"```promql\n(.*?)```", re.DOTALL)
Target = dict[str, Any]


def endpoint(job: str, address: str, **labels: str) -> Target:
    """Return the target that service discovery finds for a pod of a Service.

    Args:
        job: The name of the job, and the label app.kubernetes.io/name of its Service.
        address: The pod's host and port.
        labels: Further or other labels, without ``__meta_kubernetes_``.
    """
    found = {
        "namespace": "mlops",
        "service_label_app_kubernetes_io_name": job,
        "service_label_metrics_port": "http",
        "endpointslice_port_name": "http",
        "pod_name": f"{job}-0",
        "pod_node_name": "node",
    } | labels
    return {"targets": [address], "labels": {f"__meta_kubernetes_{name}": value for name, value in found.items()}}


def static(folder: Path, targets: Mapping[str, str | list[Target]], interval: str = "1s") -> Path:
    """Write the configuration and its rules for a Prometheus outside a cluster, and return its path.

    Args:
        folder: The target folder.
        targets: The ``host:port`` of every job, or its targets from ``endpoint``.
        interval: Of scrapes and of evaluations of the rules.

    Raises:
        KeyError: A job has no target.
    """
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
    del config["alerting"]  # discovered, too
    for job in config["scrape_configs"]:
        name = job["job_name"]
        job.pop("kubernetes_sd_configs", None)  # unknown to Debian's build of Prometheus
        given = targets[name]
        job["static_configs"] = [endpoint(name, given)] if isinstance(given, str) else given
    for rules in config["rule_files"]:
        shutil.copy(FOLDER / rules, folder)
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def rules() -> list[dict[str, Any]]:
    """Return every rule of the configuration."""
    files = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["rule_files"]
    groups = [group for file in files for group in yaml.safe_load((FOLDER / file).read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> list[str]:
    """Return the queries of the runbooks, one per line."""
    blocks = [block for page in sorted(RUNBOOKS.glob("*.md")) for block in QUERY.findall(page.read_text())]
    return [line for block in blocks for line in block.splitlines()]


def names(expression: str) -> set[str]:
    """Return the metrics in an expression."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(by|on|ignoring|without) *\([^)]*\)', " ", expression)
    return set(re.findall(r"\b[a-z][a-z0-9_:]*\b(?! *\()", bare)) - {"and", "or", "unless"}

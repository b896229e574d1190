"""The repository's Prometheus configuration with addresses for its service discovery, and nothing else changed."""

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
    """What service discovery would find for a pod behind the Service that has the job's name.

    Args:
        job: The job's name, which is the Service's.
        address: The pod's host and port.
        labels: Further labels, or other values, without their ``__meta_kubernetes_``.
    """
    found = {
        "namespace": "mlops",
        "service_name": job,
        "endpointslice_port_name": "http",
        "pod_name": f"{job}-0",
        "pod_node_name": "node",
    } | labels
    return {"targets": [address], "labels": {f"__meta_kubernetes_{name}": value for name, value in found.items()}}


def static(folder: Path, targets: Mapping[str, str | list[Target]], interval: str = "1s") -> Path:
    """Write the configuration and its rules for a Prometheus outside a cluster.

    Args:
        folder: Where to write.
        targets: For every job its ``host:port``, or targets as ``endpoint`` makes them.
        interval: Between two scrapes, and between two evaluations of the rules.

    Returns:
        The configuration's path.

    Raises:
        KeyError: A job has no target.
    """
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
    for job in config["scrape_configs"]:
        name = job["job_name"]
        # Debian's Prometheus does not even know the key.
        job.pop("kubernetes_sd_configs", None)
        given = targets[name]
        job["static_configs"] = [endpoint(name, given)] if isinstance(given, str) else given
    for rules in config["rule_files"]:
        shutil.copy(FOLDER / rules, folder)
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def rules() -> list[dict[str, Any]]:
    """Every rule that the configuration names."""
    files = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["rule_files"]
    groups = [group for file in files for group in yaml.safe_load((FOLDER / file).read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def questions() -> list[str]:
    """What the runbooks ask Prometheus, one question a line."""
    blocks = [block for page in sorted(RUNBOOKS.glob("*.md")) for block in QUERY.findall(page.read_text())]
    return [line for block in blocks for line in block.splitlines()]


def names(expression: str) -> set[str]:
    """The metrics that an expression asks for."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(by|on|ignoring|without) *\([^)]*\)', " ", expression)
    return set(re.findall(r"\b[a-z][a-z0-9_:]*\b(?! *\()", bare)) - {"and", "or", "unless"}

"""A small evaluator of NetworkPolicies.

https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.kustomize.manifests import Object, of_kind

NAME = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Peer:
    """A pod, or (without a namespace) an address outside the cluster, which no selector matches."""

    name: str
    namespace: str | None = None
    labels: dict[str, str] = field(default_factory=dict, hash=False)


def allowed(objects: Sequence[Object], source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Return whether the policies of both sides allow a connection."""
    policies = of_kind(objects, "NetworkPolicy")
    return _passes(policies, "Egress", source, target, port, protocol) and _passes(
        policies, "Ingress", target, source, port, protocol
    )


def _passes(policies: list[Object], way: str, pod: Peer, other: Peer, port: int, protocol: str) -> bool:
    if pod.namespace is None:
        return True
    own = [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == pod.namespace
        and way in policy["spec"]["policyTypes"]
        and _selects(policy["spec"]["podSelector"], pod.labels)
    ]
    rules = [rule for spec in own for rule in spec.get(way.lower(), [])]
    return not own or any(_names_peer(rule, way, pod, other) and _names_port(rule, port, protocol) for rule in rules)


def _names_peer(rule: dict[str, Any], way: str, pod: Peer, other: Peer) -> bool:
    peers = rule.get({"Ingress": "from", "Egress": "to"}[way])
    return peers is None or (other.namespace is not None and any(_matches(peer, pod, other) for peer in peers))


def _matches(peer: dict[str, Any], pod: Peer, other: Peer) -> bool:
    assert peer and peer.keys() <= {"podSelector", "namespaceSelector"}, f"not implemented: {peer}"
    if "namespaceSelector" in peer:
        in_namespace = _selects(peer["namespaceSelector"], {NAME: str(other.namespace)})
    else:
        in_namespace = other.namespace == pod.namespace
    return in_namespace and _selects(peer.get("podSelector", {}), other.labels)


def _names_port(rule: dict[str, Any], port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    return ports is None or any(one["port"] == port and one["protocol"] == protocol for one in ports)


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}, f"not implemented: {selector}"
    return selector.get("matchLabels", {}).items() <= labels.items()

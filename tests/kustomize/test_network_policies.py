"""The network policies allow all connections that are needed, and no others."""

import itertools

import pytest

from tests.kustomize import manifests
from tests.kustomize.network import Peer, allowed

DNS = Peer("dns", "kube-system", {"k8s-app": "kube-dns"})
OUTSIDE = Peer("outside")
STRANGERS = [Peer("stranger", namespace, {"app": "stranger"}) for namespace in ("default", "mlops", "monitoring")]
PORTS = [(53, "UDP"), *((port, "TCP") for port in (22, 53, 80, 443, 3000, 5000, 6443, 8000, 8443, 9090, 9091))]

SERVICE, PROMETHEUS, PUSHGATEWAY, GRAFANA, MONITOR = manifests.WORKLOADS
NAME_SERVER = {(53, "UDP"), (53, "TCP")}
NEEDED = {
    (PROMETHEUS, "dns"): NAME_SERVER,
    (GRAFANA, "dns"): NAME_SERVER,
    (MONITOR, "dns"): NAME_SERVER,
    # The API server at any address: policies apply after a Service's address is replaced by the server's.
    (PROMETHEUS, "outside"): {(443, "TCP"), (6443, "TCP"), (8443, "TCP")},
    # MLflow.
    (MONITOR, "outside"): {(5000, "TCP")},
    (PROMETHEUS, SERVICE): {(8000, "TCP")},
    (PROMETHEUS, PUSHGATEWAY): {(9091, "TCP")},
    (GRAFANA, PROMETHEUS): {(9090, "TCP")},
    (MONITOR, SERVICE): {(8000, "TCP")},
    (MONITOR, PUSHGATEWAY): {(9091, "TCP")},
    ("outside", SERVICE): {(8000, "TCP")},
    ("default/stranger", SERVICE): {(8000, "TCP")},
}
NODE_PORTS = {
    (source, target): {(port, "TCP")}
    for source in ("outside", "default/stranger")
    for target, port in ((PROMETHEUS, 9090), (GRAFANA, 3000))
}


def name(peer: Peer) -> str:
    return f"{peer.namespace}/{peer.name}" if peer.name == "stranger" else peer.name


def pods(objects):
    return [Peer(each.name, each.namespace, each.labels) for each in manifests.workloads(objects)]


def flows(objects):
    """Return all allowed connections from or to a pod of ours."""
    found: dict[tuple[str, str], set[tuple[int, str]]] = {}
    for source, target in itertools.permutations([*pods(objects), DNS, OUTSIDE, *STRANGERS], 2):
        if {source.namespace, target.namespace} & {"mlops", "monitoring"}:
            for port, protocol in PORTS:
                if allowed(objects, source, target, port, protocol):
                    found.setdefault((name(source), name(target)), set()).add((port, protocol))
    return found


def expected(table):
    """Apply rules for `outside` to pods of other namespaces as well: such rules name no addresses."""
    whole = {pair: set(ports) for pair, ports in table.items()}
    for (source, target), ports in table.items():
        if target == "outside":
            for other in ("dns", "default/stranger"):
                whole[source, other] = whole.get((source, other), set()) | ports
        if source == "outside":
            whole["dns", target] = set(ports)
    return whole


def test_bases_allow_needed_connections_only():
    assert flows(manifests.render_bases()) == expected(NEEDED)


def test_overlay_also_opens_its_node_ports(minikube):
    assert flows(minikube) == expected(NEEDED | NODE_PORTS)
    types = {s["metadata"]["name"]: s["spec"].get("type") for s in manifests.of_kind(minikube, "Service")}
    assert types == {SERVICE: "NodePort", PROMETHEUS: "NodePort", GRAFANA: "NodePort", PUSHGATEWAY: None}


@pytest.mark.parametrize("missing", ["default-deny", SERVICE, PROMETHEUS, PUSHGATEWAY, GRAFANA])
def test_missing_policy_changes_the_connections(missing):
    objects = [
        thing
        for thing in manifests.render_bases()
        if (thing["kind"], thing["metadata"]["name"]) != ("NetworkPolicy", missing)
    ]
    assert flows(objects) != expected(NEEDED)

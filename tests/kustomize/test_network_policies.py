"""Who may talk to whom: everything that is needed, and nothing else."""

import itertools

import pytest

from tests.kustomize import manifests
from tests.kustomize.network import Peer, allowed

DNS = Peer("dns", "kube-system", {"k8s-app": "kube-dns"})
OUTSIDE = Peer("outside")
STRANGERS = [Peer("stranger", namespace, {"app": "stranger"}) for namespace in ("default", "mlops", "monitoring")]
PORTS = [(22, "TCP"), (53, "UDP"), (53, "TCP"), *((port, "TCP") for port in (80, 443, 6443, 8443, 5000))]
PORTS += [(port, "TCP") for port in (3000, 8000, 9090, 9091)]

SERVICE, PROMETHEUS, PUSHGATEWAY, GRAFANA, MONITOR = (
    *("mlops-service", "prometheus", "pushgateway", "grafana"),
    "post-deploy-accuracy",
)
NEEDED = {
    (PROMETHEUS, "dns"): {(53, "UDP"), (53, "TCP")},
    (GRAFANA, "dns"): {(53, "UDP"), (53, "TCP")},
    (MONITOR, "dns"): {(53, "UDP"), (53, "TCP")},
    # The API server, wherever it is: a Service's address is replaced by the server's before policies look.
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
# The overlay opens what it makes a node port of.
OPENED = {
    (who, what): {(port, "TCP")}
    for who in ("outside", "default/stranger")
    for what, port in ((PROMETHEUS, 9090), (GRAFANA, 3000))
}


def name(peer: Peer) -> str:
    return f"{peer.namespace}/{peer.name}" if peer.name == "stranger" else peer.name


def pods(objects):
    return [Peer(each.name, each.namespace, each.labels) for each in manifests.workloads(objects)]


def flows(objects):
    """All that is allowed between two peers of which at least one is ours."""
    peers = [*pods(objects), DNS, OUTSIDE, *STRANGERS]
    found: dict[tuple[str, str], set[tuple[int, str]]] = {}
    for source, target in itertools.permutations(peers, 2):
        if not {source.namespace, target.namespace} & {"mlops", "monitoring"}:
            continue
        for port, protocol in PORTS:
            if allowed(objects, source, target, port, protocol):
                found.setdefault((name(source), name(target)), set()).add((port, protocol))
    return found


def expected(table):
    """The table, with rules for `outside` applied to pods of other namespaces too: they have no address in common."""
    whole = {pair: set(ports) for pair, ports in table.items()}
    for (source, target), ports in table.items():
        if target == "outside":
            for other in ("dns", "default/stranger"):
                whole[source, other] = whole.get((source, other), set()) | ports
        if source == "outside":
            whole["dns", target] = set(ports)
    return whole


def test_the_bases_allow_what_is_needed_and_nothing_else():
    objects = [thing for folder in manifests.BASES for thing in manifests.render(folder)]
    assert flows(objects) == expected(NEEDED)


def test_the_overlay_opens_its_node_ports_as_well(minikube):
    assert flows(minikube) == expected(NEEDED | OPENED)


def test_each_node_port_can_be_reached(minikube):
    opened = {s["metadata"]["name"] for s in manifests.of_kind(minikube, "Service") if s["spec"].get("type")}
    assert opened == {SERVICE, PROMETHEUS, GRAFANA}
    for what in opened:
        (target,) = (pod for pod in pods(minikube) if pod.name == what)
        service = manifests.find(minikube, "Service", what)
        assert service["spec"]["type"] == "NodePort"
        assert allowed(minikube, OUTSIDE, target, service["spec"]["ports"][0]["port"])


@pytest.mark.parametrize("missing", ["default-deny", "mlops-service", "prometheus", "pushgateway", "grafana"])
def test_a_missing_policy_would_be_seen(missing):
    objects = [
        thing
        for folder in manifests.BASES
        for thing in manifests.render(folder)
        if not (thing["kind"] == "NetworkPolicy" and thing["metadata"]["name"] == missing)
    ]
    assert flows(objects) != expected(NEEDED)

"""The overlay production: who reaches what, and parts that have to fit together."""

import itertools
import re
import shutil

import pytest
import yaml

from scripts.validate import policies
from tests.kustomize import manifests
from tests.kustomize.network import Peer, allowed
from tests.servers import ROOT

SERVICE, PROMETHEUS, PUSHGATEWAY, GRAFANA, MONITOR = manifests.WORKLOADS
MLFLOW, DATABASE, STORE, ALERTMANAGER = "mlflow", "mlflow-database", "mlflow-store", "alertmanager"
OURS = ("mlops", "monitoring", "mlflow")
DNS = Peer("dns", "kube-system", {"k8s-app": "kube-dns"})
GATEWAY = Peer("gateway", "envoy-gateway-system", {"app": "envoy"})
OUTSIDE = Peer("outside")
SOLVER = Peer("solver", "mlops", {"acme.cert-manager.io/http01-solver": "true"})
STRANGERS = [Peer("stranger", namespace, {"app": "stranger"}) for namespace in ("default", *OURS)]
PORTS = (22, 80, 443, 3000, 5000, 5432, 6443, 8000, 8089, 8443, 9000, 9001, 9090, 9091, 9093)
API_SERVER = {443, 6443, 8443}
NEEDED = {
    ("gateway", SERVICE): {8000},
    ("gateway", "solver"): {8089},
    (MONITOR, SERVICE): {8000},
    (MONITOR, PUSHGATEWAY): {9091},
    (MONITOR, MLFLOW): {5000},
    (PROMETHEUS, SERVICE): {8000, 9090},
    (PROMETHEUS, PUSHGATEWAY): {9091},
    (PROMETHEUS, ALERTMANAGER): {9093},
    (GRAFANA, PROMETHEUS): {9090},
    (MLFLOW, DATABASE): {5432},
    (MLFLOW, STORE): {9000},
    # At any address: policies know no names. The receiver of alerts, and the API server for discovery.
    **{(ALERTMANAGER, other): {443} for other in ("outside", "dns", "gateway", "default/stranger")},
    **{(PROMETHEUS, other): API_SERVER for other in ("outside", "dns", "gateway", "default/stranger")},
}


@pytest.fixture(scope="module")
def production():
    return manifests.render(manifests.PRODUCTION)


def name(peer):
    return f"{peer.namespace}/{peer.name}" if peer.name == "stranger" else peer.name


def test_only_needed_connections_are_allowed(production):
    pods = [Peer(each.name, each.namespace, each.labels) for each in manifests.workloads(production)]
    found: dict[tuple[str, str], set[int]] = {}
    for source, target in itertools.permutations([*pods, DNS, GATEWAY, OUTSIDE, SOLVER, *STRANGERS], 2):
        if source.namespace in OURS or target.namespace in OURS:
            ports = {port for port in PORTS if allowed(production, source, target, port)}
            if ports:
                found[name(source), name(target)] = ports
    assert found == NEEDED


def test_pods_that_connect_by_name_reach_the_name_server(production):
    for each in manifests.workloads(production):
        peer = Peer(each.name, each.namespace, each.labels)
        needed = each.name in (PROMETHEUS, GRAFANA, MONITOR, MLFLOW, ALERTMANAGER)
        assert allowed(production, peer, DNS, 53, "UDP") is allowed(production, peer, DNS, 53) is needed, each.name


def test_metrics_are_off_the_public_port(production):
    service = manifests.workload(production, SERVICE)
    ports = {port["name"]: port["containerPort"] for port in service.container["ports"]}
    assert int(service.env["METRICS_PORT"]) == ports["metrics"] != ports["http"]
    found = manifests.find(production, "Service", SERVICE)
    assert {port["name"]: port["targetPort"] for port in found["spec"]["ports"]} == {
        "http": "http",
        "metrics": "metrics",
    }
    assert found["metadata"]["labels"]["metrics-port"] == "metrics"
    for route in manifests.of_kind(production, "HTTPRoute"):
        backends = [backend for rule in route["spec"]["rules"] for backend in rule.get("backendRefs", [])]
        assert all((backend["name"], backend["port"]) == (SERVICE, ports["http"]) for backend in backends)


def test_gateway_certificate_and_routes_fit_together(production):
    certificate = manifests.find(production, "Certificate", SERVICE)["spec"]
    gateway = manifests.find(production, "Gateway", SERVICE)["spec"]
    (tls,) = [listener for listener in gateway["listeners"] if listener["protocol"] == "HTTPS"]
    assert tls["tls"]["certificateRefs"] == [{"name": certificate["secretName"]}]
    assert [listener["hostname"] for listener in gateway["listeners"]] == certificate["dnsNames"] * 2
    sections = {listener["name"] for listener in gateway["listeners"]}
    attached = [p["sectionName"] for r in manifests.of_kind(production, "HTTPRoute") for p in r["spec"]["parentRefs"]]
    assert set(attached) == sections


def test_quotas_have_room_for_a_roll_out_at_full_scale(production):
    (scaler,) = manifests.of_kind(production, "HorizontalPodAutoscaler")
    for namespace in OURS:
        hard = manifests.find(production, "ResourceQuota", namespace)["spec"]["hard"]
        most = manifests.find(production, "LimitRange", namespace)["spec"]["limits"][0]["max"]
        used = dict.fromkeys(hard, 0.0)
        for each in manifests.workloads(production):
            if each.namespace != namespace:
                continue
            pods = scaler["spec"]["maxReplicas"] + 1 if each.name == SERVICE else 2
            used["pods"] += pods
            for kind, what in itertools.product(("requests", "limits"), ("cpu", "memory")):
                amount = manifests.amount(each.container["resources"][kind][what])
                assert amount <= manifests.amount(most[what])
                used[f"{kind}.{what}"] += pods * amount
        claims = [
            c for c in manifests.of_kind(production, "PersistentVolumeClaim") if c["metadata"]["namespace"] == namespace
        ]
        used["persistentvolumeclaims"] = len(claims)
        assert not {key: (used[key], hard[key]) for key in hard if used[key] > manifests.amount(hard[key])}


def test_service_is_spread_over_zones_and_goes_first(production):
    service = manifests.workload(production, SERVICE)
    keys = [constraint["topologyKey"] for constraint in service.spec["topologySpreadConstraints"]]
    assert keys == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    priority = manifests.find(production, "PriorityClass", service.spec["priorityClassName"])
    assert priority["value"] > 0
    (scaler,) = manifests.of_kind(production, "HorizontalPodAutoscaler")
    assert scaler["spec"]["minReplicas"] >= 3


def test_alerts_reach_the_address_in_the_secret(production):
    pod = manifests.workload(production, ALERTMANAGER)
    config = yaml.safe_load(manifests.find(production, "ConfigMap", "alertmanager-config")["data"]["alertmanager.yml"])
    (receiver,) = config["receivers"]
    assert config["route"]["receiver"] == receiver["name"]
    (webhook,) = receiver["webhook_configs"]
    (mount,) = (m for m in pod.container["volumeMounts"] if webhook["url_file"].startswith(m["mountPath"] + "/"))
    secret = pod.volumes[mount["name"]]["secret"]["secretName"]
    assert secret in {e["metadata"]["name"] for e in manifests.of_kind(production, "ExternalSecret")}
    prometheus = yaml.safe_load(manifests.find(production, "ConfigMap", "prometheus-config")["data"]["prometheus.yml"])
    ((discovery,),) = (m["kubernetes_sd_configs"] for m in prometheus["alerting"]["alertmanagers"])
    assert discovery["namespaces"] == {"own_namespace": True}
    service = manifests.find(production, "Service", ALERTMANAGER, "monitoring")
    (rule,) = prometheus["alerting"]["alertmanagers"][0]["relabel_configs"]
    assert (
        rule["regex"]
        == f"{service['metadata']['labels']['app.kubernetes.io/name']};{service['spec']['ports'][0]['name']}"
    )


def test_monitor_logs_to_the_mlflow_of_the_cluster(production):
    tracking = manifests.workload(production, MONITOR).env["MLFLOW_TRACKING_URI"]
    server = manifests.workload(production, MLFLOW)
    assert tracking == f"http://{server.env['OWN_HOST']}" == "http://mlflow.mlflow.svc:5000"
    assert "--allowed-hosts=$(OWN_HOST),localhost:*,127.0.0.1:*" in server.container["args"]
    for host, port in ((server.env["DATABASE_HOST"], 5432), (server.env["STORE_HOST"], 9000)):
        (service,) = manifests.find(production, "Service", host, "mlflow")["spec"]["ports"]
        assert service["port"] == port


def test_documentation_lists_the_entries_of_the_secret_store(production):
    text = (ROOT / "docs" / "production.md").read_text()
    for secret in manifests.of_kind(production, "ExternalSecret"):
        (source,) = secret["spec"]["dataFrom"]
        assert f"`{source['extract']['key']}`" in text


def test_prefix_of_ones_own_reaches_every_name(production, tmp_path):
    """As in docs/production.md."""
    text = (ROOT / "docs" / "production.md").read_text()
    (block,) = (block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "namePrefix" in block)
    folder = shutil.copytree(manifests.ROOT, tmp_path / "kustomize") / "overlays" / "mine"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text(block)
    mine = manifests.render(folder)
    assert not list(policies.violations(mine, production=True))
    service = f"acme-{SERVICE}"
    server, check = (manifests.workload(mine, f"acme-{name}") for name in (MLFLOW, MONITOR))
    assert (
        check.env["MLFLOW_TRACKING_URI"] == f"http://{server.env['OWN_HOST']}" == "http://acme-mlflow.mlflow.svc:5000"
    )
    assert check.env["PREDICT_URL"] == f"http://{service}.mlops.svc:8000"
    assert (server.env["DATABASE_HOST"], server.env["STORE_HOST"]) == (f"acme-{DATABASE}", f"acme-{STORE}")
    (route,) = (r for r in manifests.of_kind(mine, "HTTPRoute") if r["metadata"]["name"] == service)
    assert route["spec"]["parentRefs"][0]["name"] == manifests.find(mine, "Gateway", service)["metadata"]["name"]
    assert route["spec"]["rules"][0]["backendRefs"][0]["name"] == service
    assert manifests.find(mine, "PriorityClass", manifests.workload(mine, service).spec["priorityClassName"])
    assert {n["metadata"]["name"] for n in manifests.of_kind(mine, "Namespace")} == set(OURS)

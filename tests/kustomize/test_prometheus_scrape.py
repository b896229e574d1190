"""Prometheus scrapes the right ports of the right Services, labels them with their pods, and has limits."""

import pytest
import requests
import yaml

from tests import bundles, prometheus, servers
from tests.kustomize import manifests
from tests.kustomize.prometheus_config import FOLDER, endpoint, static
from tests.services.inference.serving import service as serving
from tests.services.monitor import stubs

JOBS = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
DISCOVERED = {job["job_name"]: job["kubernetes_sd_configs"] for job in JOBS if "kubernetes_sd_configs" in job}
REPOSITORY = "https://example.com/owner/repository"
# As Prometheus 3 sends it, and the media types that it reads without a fallback.
ACCEPT = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
READABLE = ("application/openmetrics-text; version=1.0.0", "text/plain; version=0.0.4", "text/plain; version=1.0.0")


@pytest.fixture(scope="module")
def endless():
    """The host and port of a target with more series than any model."""
    text = b"".join(b'made_up{number="%d"} 1\n' % number for number in range(30_000))
    with stubs.serving(stubs.always(200, text, "text/plain; version=0.0.4")) as address:
        yield address.removeprefix("http://")


@pytest.fixture(scope="module")
def targets(tmp_path_factory, endless):
    """The address of a Prometheus, and by job the targets that it makes of discovered pods."""
    folder = tmp_path_factory.mktemp("prometheus")
    port = servers.free_port()
    itself = f"127.0.0.1:{port}"
    found = {
        name: [
            endpoint(name, itself),
            endpoint(name, "127.0.0.1:1", endpointslice_port_name="debug"),
            endpoint("grafana", "127.0.0.1:2"),
            endpoint(f"not-{name}", "127.0.0.1:3"),
        ]
        for name in DISCOVERED
    } | {"prometheus": itself}
    found["mlops-service"].append(endpoint("mlops-service", endless, pod_name="endless"))
    options = (folder, static(folder, found), port, "--enable-feature=expand-external-labels")
    with prometheus.prometheus(*options, REPOSITORY_URL=REPOSITORY) as address:
        prometheus.wait_until(address, "count(up) == 4")
        active = requests.get(f"{address}/api/v1/targets", timeout=10).json()["data"]["activeTargets"]
        yield address, {job["job_name"]: [t for t in active if t["scrapePool"] == job["job_name"]] for job in JOBS}


def test_targets_are_the_services_ports_labelled_with_their_pods(targets):
    _, found = targets
    itself = found["prometheus"][0]["labels"]["instance"]
    pods = {target["labels"]["pod"]: target["labels"] for target in found["mlops-service"]}
    assert pods.keys() == {"mlops-service-0", "endless"}
    labels = {"namespace": "mlops", "pod": "mlops-service-0", "node": "node"}
    assert pods["mlops-service-0"] == {"job": "mlops-service", "instance": itself} | labels
    assert [target["labels"] for target in found["pushgateway"]] == [{"job": "pushgateway", "instance": itself}]
    assert found["pushgateway"][0]["health"] == "up"


def test_target_with_too_many_series_is_rejected(targets):
    address, found = targets
    (endless,) = (target for target in found["mlops-service"] if target["labels"]["pod"] == "endless")
    assert endless["health"] == "down" and "sample limit exceeded" in endless["lastError"]
    assert prometheus.query(address, "made_up") == []


def test_runbook_links_begin_with_the_repository_of_the_environment(targets, minikube):
    address, _ = targets
    federated = requests.get(f"{address}/federate", params={"match[]": 'up{job="prometheus"}'}, timeout=10).text
    assert f'repository="{REPOSITORY}"' in federated
    assert manifests.workload(minikube, "prometheus").env["REPOSITORY_URL"].startswith("https://")


@pytest.mark.parametrize("job", DISCOVERED)
def test_discovery_uses_the_namespace_of_the_service(minikube, job):
    service = manifests.find(minikube, "Service", job)["metadata"]
    own = {"own_namespace": True} if service["namespace"] == "monitoring" else {"names": [service["namespace"]]}
    assert DISCOVERED[job] == [{"role": "endpointslice", "namespaces": own}]
    assert service["labels"]["app.kubernetes.io/name"] == job


def test_metrics_have_a_media_type_that_prometheus_reads(tmp_path):
    bundle = bundles.write(tmp_path / "bundle")
    with serving(tmp_path, MODEL_DIR=bundle) as pod, prometheus.pushgateway(tmp_path) as gateway:
        for address in (pod.address, gateway):
            kind = requests.get(f"{address}/metrics", headers={"Accept": ACCEPT}, timeout=30).headers["Content-Type"]
            assert kind.startswith(READABLE)

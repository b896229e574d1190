"""What Prometheus reads: the right ports of the right Services, labelled with their pods, and never without limit."""

import http.server
import threading

import pytest
import requests
import yaml

from tests import bundles, prometheus, servers
from tests.kustomize import manifests
from tests.kustomize.prometheus_config import FOLDER, endpoint, static
from tests.services.inference.serving import service

JOBS = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
DISCOVERED = {job["job_name"]: job["kubernetes_sd_configs"] for job in JOBS if "kubernetes_sd_configs" in job}
REPOSITORY = "https://example.com/owner/repository"
# What Prometheus 3 asks for, and the media types that it reads without being told how.
ACCEPT = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
READABLE = ("application/openmetrics-text; version=1.0.0", "text/plain; version=0.0.4", "text/plain; version=1.0.0")


@pytest.fixture(scope="module")
def endless():
    """The address of a target with more series than any model should have."""

    class Endless(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(b"".join(b'made_up{number="%d"} 1\n' % number for number in range(30_000)))

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def targets(tmp_path_factory, endless):
    """The targets that Prometheus makes of what service discovery would find, by job, and its address."""
    folder = tmp_path_factory.mktemp("prometheus")
    port = servers.free_port()
    itself = f"127.0.0.1:{port}"
    found = {
        name: [
            endpoint(name, itself, namespace=job[0]["namespaces"]["names"][0]),
            endpoint(name, "127.0.0.1:1", endpointslice_port_name="debug"),
            endpoint("grafana", "127.0.0.1:2"),
            endpoint(f"not-{name}", "127.0.0.1:3"),
        ]
        for name, job in DISCOVERED.items()
    } | {"prometheus": itself}
    found["mlops-service"].append(endpoint("mlops-service", endless, pod_name="endless"))
    config = static(folder, found)
    with prometheus.prometheus(
        folder, config, port, "--enable-feature=expand-external-labels", REPOSITORY_URL=REPOSITORY
    ) as address:
        prometheus.wait_until(address, "count(up) == 4")
        active = requests.get(f"{address}/api/v1/targets", timeout=10).json()["data"]["activeTargets"]
        yield address, {job["job_name"]: [t for t in active if t["scrapePool"] == job["job_name"]] for job in JOBS}


def test_only_the_service_and_its_port_are_read_and_the_labels_say_which_pod(targets):
    _, found = targets
    itself = found["prometheus"][0]["labels"]["instance"]
    first, _ = sorted(
        (target["labels"] for target in found["mlops-service"]), key=lambda labels: labels["pod"] == "endless"
    )
    assert first == {
        "job": "mlops-service",
        "instance": itself,
        "namespace": "mlops",
        "pod": "mlops-service-0",
        "node": "node",
    }
    assert [target["labels"] for target in found["pushgateway"]] == [{"job": "pushgateway", "instance": itself}]
    assert found["pushgateway"][0]["health"] == "up"


def test_a_target_that_never_ends_is_not_taken(targets):
    address, found = targets
    (endless,) = (target for target in found["mlops-service"] if target["labels"]["pod"] == "endless")
    assert endless["health"] == "down" and "sample limit exceeded" in endless["lastError"]
    assert prometheus.query(address, "made_up") == []


def test_links_to_runbooks_begin_with_the_repository_of_the_environment(targets, minikube):
    address, _ = targets
    federated = requests.get(f"{address}/federate", params={"match[]": 'up{job="prometheus"}'}, timeout=10).text
    assert f'repository="{REPOSITORY}"' in federated
    assert manifests.workload(minikube, "prometheus").env["REPOSITORY_URL"].startswith("https://")


@pytest.mark.parametrize("job", DISCOVERED)
def test_discovery_looks_where_the_service_is(minikube, job):
    (config,) = DISCOVERED[job]
    assert config == {
        "role": "endpointslice",
        "namespaces": {"names": [manifests.find(minikube, "Service", job)["metadata"]["namespace"]]},
    }


def test_what_is_read_is_of_a_kind_that_prometheus_3_knows(tmp_path):
    bundle = bundles.write(tmp_path / "bundle")
    with service(tmp_path, MODEL_DIR=bundle) as pod, prometheus.pushgateway(tmp_path) as gateway:
        for address in (pod.address, gateway):
            kind = requests.get(f"{address}/metrics", headers={"Accept": ACCEPT}, timeout=30).headers["Content-Type"]
            assert kind.startswith(READABLE)

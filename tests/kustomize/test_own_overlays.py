"""Overlays of users, with other namespaces and names: every address in the result is a Service of the result."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from tests.kustomize import manifests
from tests.kustomize.network import Peer, allowed
from tests.kustomize.test_references import exists

SERVICE, PROMETHEUS, PUSHGATEWAY, GRAFANA, MONITOR = manifests.WORKLOADS
ADDRESS = re.compile(r"http://([a-z0-9-]+)(?:\.([a-z0-9-]+)\.svc)?:(\d+)")
ADDRESSES = {"transformers": ["ROOT/addresses"]}
OVERLAYS = {
    "minikube": {"resources": ["ROOT/overlays/minikube"]},
    "prefix": {"namePrefix": "dev-", "resources": ["ROOT/overlays/minikube"], **ADDRESSES},
    "suffix": {"nameSuffix": "-b", "resources": ["ROOT/overlays/minikube"], **ADDRESSES},
    "namespace": {"namespace": "team-a", "resources": ["ROOT/base"], **ADDRESSES},
    "both": {"namespace": "team-a", "namePrefix": "dev-", "resources": ["ROOT/base"], **ADDRESSES},
    "namespace-over-minikube": {
        "namespace": "team-a",
        "resources": ["ROOT/overlays/minikube"],
        "components": ["ROOT/components/one-namespace"],
        **ADDRESSES,
    },
    "from-git": {
        "namespace": "team-a",
        "resources": ["GIT/base?ref=main"],
        "transformers": ["GIT/addresses?ref=main"],
    },
}


@pytest.fixture(scope="module")
def git(tmp_path_factory):
    """The address of a Git repository with the manifests."""
    repository = tmp_path_factory.mktemp("repository")
    shutil.copytree(manifests.ROOT, repository / "kustomize")
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (["init", "-q", "-b", "main"], ["add", "."], [*identity, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *command], cwd=repository, check=True)
    return f"file://{repository}//kustomize"


@pytest.fixture(scope="module", params=OVERLAYS)
def rendered(request, tmp_path_factory, git):
    folder = tmp_path_factory.mktemp("overlay")
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    text = json.dumps(head | OVERLAYS[request.param])
    text = text.replace("ROOT", os.path.relpath(manifests.ROOT, folder)).replace("GIT", git)
    (folder / "kustomization.yaml").write_text(text)
    return manifests.render(folder)


def labelled(objects, kind, name):
    """Return the object with this label, which no prefix changes."""
    (found,) = (
        o for o in manifests.of_kind(objects, kind) if o["metadata"]["labels"]["app.kubernetes.io/name"] == name
    )
    return found


def config(objects, component, file):
    (found,) = (
        o["data"][file]
        for o in manifests.of_kind(objects, "ConfigMap")
        if o["metadata"]["labels"]["app.kubernetes.io/name"] == component and file in o["data"]
    )
    return yaml.safe_load(found)


def workload(objects, name):
    (found,) = (each for each in manifests.workloads(objects) if each.labels["app.kubernetes.io/name"] == name)
    return found


def test_addresses_are_services(rendered):
    settings = workload(rendered, MONITOR).env
    (source,) = config(rendered, GRAFANA, "datasources.yaml")["datasources"]
    named = {SERVICE: settings["PREDICT_URL"], PUSHGATEWAY: settings["PUSHGATEWAY_URL"], PROMETHEUS: source["url"]}
    for label, address in named.items():
        service = labelled(rendered, "Service", label)
        name, namespace, port = ADDRESS.fullmatch(address).groups()
        own = workload(rendered, MONITOR).namespace
        assert (name, namespace or own) == (service["metadata"]["name"], service["metadata"]["namespace"])
        assert service["spec"]["ports"][0]["port"] == int(port)


def test_prometheus_discovers_the_services_where_they_are(rendered):
    own = workload(rendered, PROMETHEUS).namespace
    for job in config(rendered, PROMETHEUS, "prometheus.yml")["scrape_configs"][:2]:
        service = labelled(rendered, "Service", job["job_name"])["metadata"]
        (discovery,) = job["kubernetes_sd_configs"]
        watched = discovery["namespaces"].get("names", [own])
        assert watched == [service["namespace"]]
        bindings = manifests.of_kind(rendered, "RoleBinding")
        assert service["namespace"] in {binding["metadata"]["namespace"] for binding in bindings}


def test_roles_and_accounts_exist(rendered):
    account = workload(rendered, PROMETHEUS)
    for binding in manifests.of_kind(rendered, "RoleBinding"):
        assert exists(rendered, "Role", binding["roleRef"]["name"], binding["metadata"]["namespace"])
        (subject,) = binding["subjects"]
        assert (subject["name"], subject["namespace"]) == (account.spec["serviceAccountName"], account.namespace)
        assert exists(rendered, "ServiceAccount", subject["name"], subject["namespace"])


def test_policies_allow_the_connections(rendered):
    pods = {name: workload(rendered, name) for name in manifests.WORKLOADS}
    peers = {name: Peer(pod.name, pod.namespace, pod.labels) for name, pod in pods.items()}
    for source, target, port in (
        (MONITOR, SERVICE, 8000),
        (MONITOR, PUSHGATEWAY, 9091),
        (PROMETHEUS, SERVICE, 8000),
        (PROMETHEUS, PUSHGATEWAY, 9091),
        (GRAFANA, PROMETHEUS, 9090),
    ):
        assert allowed(rendered, peers[source], peers[target], port)
    assert not allowed(rendered, peers[GRAFANA], peers[SERVICE], 8000)

"""Every reference has a target, and pods roll when their configuration changes."""

import re
import shutil

import pytest
import yaml

from tests.kustomize import manifests

HASHED = re.compile(r".+-[a-z0-9]{10}")
REFERENCES = {
    "ConfigMap": ("configMap", "name"),
    "Secret": ("secret", "secretName"),
    "PersistentVolumeClaim": ("persistentVolumeClaim", "claimName"),
}


def exists(objects, kind, name, namespace):
    return any(
        (thing["kind"], thing["metadata"]["name"], thing["metadata"].get("namespace")) == (kind, name, namespace)
        for thing in objects
    )


def test_volumes_secrets_and_accounts_of_pods_exist(minikube, workload):
    for volume in workload.volumes.values():
        for kind, (source, key) in REFERENCES.items():
            if source in volume and not volume[source].get("optional"):
                assert exists(minikube, kind, volume[source][key], workload.namespace), volume
    for reference in manifests.values(workload.container.get("env", []), "secretKeyRef"):
        assert exists(minikube, "Secret", reference["name"], workload.namespace)
        assert reference["key"] in manifests.find(minikube, "Secret", "grafana-admin")["data"]
    assert exists(minikube, "ServiceAccount", workload.spec["serviceAccountName"], workload.namespace)


def test_only_labelled_images_are_optional(minikube):
    """`make labelled-images` creates them later."""
    sources = [*manifests.values(minikube, "configMap"), *manifests.values(minikube, "secret")]
    assert [source["name"] for source in sources if source.get("optional")] == ["labelled-images"]


def test_mounts_have_volumes_and_files_have_keys(minikube, workload):
    mounts = workload.container.get("volumeMounts", [])
    earlier = manifests.values(workload.spec.get("initContainers", []), "volumeMounts")
    assert {mount["name"] for each in (mounts, *earlier) for mount in each} == workload.volumes.keys()
    assert len({mount["mountPath"] for mount in mounts}) == len(mounts)
    for mount in mounts:
        if "subPath" in mount:
            name = workload.volumes[mount["name"]]["configMap"]["name"]
            (config,) = (c for c in manifests.of_kind(minikube, "ConfigMap") if c["metadata"]["name"] == name)
            assert mount["subPath"] in config["data"]


def test_selectors_match_their_own_pods_only(minikube):
    for thing in manifests.of_kind(minikube, "Deployment", "Service", "PodDisruptionBudget"):
        name, namespace = thing["metadata"]["name"], thing["metadata"]["namespace"]
        selector = thing["spec"]["selector"]
        # Immutable in a Deployment.
        assert selector.get("matchLabels", selector) == {"app.kubernetes.io/name": name}
        pods = [p for p in manifests.workloads(minikube) if p.labels["app.kubernetes.io/name"] == name]
        assert [(pod.name, pod.namespace) for pod in pods] == [(name, namespace)]


def test_services_and_probes_use_the_containers_port(minikube):
    ports = {"mlops-service": 8000, "prometheus": 9090, "pushgateway": 9091, "grafana": 3000}
    services = {service["metadata"]["name"]: service for service in manifests.of_kind(minikube, "Service")}
    assert services.keys() == ports.keys()
    for workload in manifests.workloads(minikube):
        probes = [value for key, value in workload.container.items() if key.endswith("Probe")]
        assert bool(probes) is (workload.name in ports)
        assert all(probe["httpGet"]["port"] == "http" for probe in probes)
        if port := ports.get(workload.name):
            assert workload.container["ports"] == [{"name": "http", "containerPort": port}]
            assert services[workload.name]["spec"]["ports"] == [{"name": "http", "port": port, "targetPort": "http"}]


def test_role_bindings_refer_to_roles_and_accounts(minikube):
    for binding in manifests.of_kind(minikube, "RoleBinding"):
        assert exists(minikube, "Role", binding["roleRef"]["name"], binding["metadata"]["namespace"])
        for subject in binding["subjects"]:
            assert exists(minikube, subject["kind"], subject["name"], subject["namespace"])


def test_autoscaler_alone_sets_the_replicas(minikube):
    (scaler,) = manifests.of_kind(minikube, "HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    deployment = manifests.find(minikube, target["kind"], target["name"], scaler["metadata"]["namespace"])
    assert deployment["apiVersion"] == target["apiVersion"]
    assert "replicas" not in deployment["spec"]
    assert scaler["spec"]["minReplicas"] > 1


def test_addresses_in_settings_are_services(minikube, job):
    config = manifests.find(minikube, "ConfigMap", "grafana-config")
    (source,) = yaml.safe_load(config["data"]["datasources.yaml"])["datasources"]
    for address in (source["url"], job.env["PREDICT_URL"], job.env["PUSHGATEWAY_URL"]):
        name, namespace, port = re.fullmatch(r"http://([a-z-]+)(?:\.([a-z]+)\.svc)?:(\d+)", address).groups()
        service = manifests.find(minikube, "Service", name, namespace or "monitoring")
        assert service["spec"]["ports"][0]["port"] == int(port)


@pytest.mark.parametrize(
    ("file", "rolled"),
    [
        ("base/prometheus/prometheus.yml", "prometheus"),
        ("base/prometheus/rules.yml", "prometheus"),
        ("base/grafana/grafana.ini", "grafana"),
        ("base/grafana/dashboards/service.json", "grafana"),
    ],
)
def test_changed_configuration_rolls_its_pods_only(minikube, tmp_path, file, rolled):
    shutil.copytree(manifests.ROOT, tmp_path / "kustomize")
    with (tmp_path / "kustomize" / file).open("a") as changed:
        changed.write("\n")
    after = manifests.render(tmp_path / "kustomize" / "overlays" / "minikube")
    different = [each.name for each in manifests.workloads(minikube) if each != manifests.workload(after, each.name)]
    assert different == [rolled]
    for thing in manifests.of_kind(minikube, "ConfigMap", "Secret"):
        assert HASHED.fullmatch(thing["metadata"]["name"])


def test_dashboards_are_in_grafanas_folder(minikube):
    grafana = manifests.workload(minikube, "grafana")
    config = manifests.find(minikube, "ConfigMap", "grafana-config")["data"]
    (provider,) = yaml.safe_load(config["dashboards.yaml"])["providers"]
    (mount,) = (m for m in grafana.container["volumeMounts"] if m["name"] == "dashboards")
    assert provider["options"]["path"] == mount["mountPath"]
    home = re.search(r"^default_home_dashboard_path = (.+)$", config["grafana.ini"], re.MULTILINE).group(1)
    files = manifests.find(minikube, "ConfigMap", "grafana-dashboards")["data"]
    assert home in {f"{mount['mountPath']}/{file}" for file in files}


def test_prometheus_loads_all_its_rules(minikube):
    config = manifests.find(minikube, "ConfigMap", "prometheus-config")["data"]
    assert set(yaml.safe_load(config["prometheus.yml"])["rule_files"]) == config.keys() - {"prometheus.yml"}

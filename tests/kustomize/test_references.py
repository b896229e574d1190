"""Whatever names something else names something that is there, and rolls when that changes."""

import re
import shutil

import pytest
import yaml

from tests.kustomize import manifests

HASHED = re.compile(r".+-[a-z0-9]{10}")
MADE_LATER = {"labelled-images"}  # by `make labelled-images`, where a person has pictures


@pytest.fixture(params=manifests.WORKLOADS)
def workload(request, minikube):
    return manifests.workload(minikube, request.param)


def exists(objects, kind, name, namespace):
    return any(
        (thing["kind"], thing["metadata"]["name"], thing["metadata"].get("namespace")) == (kind, name, namespace)
        for thing in objects
    )


def test_what_a_pod_mounts_and_reads_is_there(minikube, workload):
    for volume in workload.spec.get("volumes", []):
        for kind, source, key in (
            ("ConfigMap", "configMap", "name"),
            ("Secret", "secret", "secretName"),
            ("PersistentVolumeClaim", "persistentVolumeClaim", "claimName"),
        ):
            if source in volume and volume[source][key] not in MADE_LATER:
                assert exists(minikube, kind, volume[source][key], workload.namespace), volume
    for reference in manifests.values(workload.container.get("env", []), "secretKeyRef"):
        assert exists(minikube, "Secret", reference["name"], workload.namespace)
        assert reference["key"] in manifests.find(minikube, "Secret", "grafana-admin")["data"]
    assert exists(minikube, "ServiceAccount", workload.spec["serviceAccountName"], workload.namespace)


def test_what_is_made_later_may_be_missing(minikube):
    volumes = manifests.workload(minikube, "post-deploy-accuracy").spec["volumes"]
    (labelled,) = (v["configMap"] for v in volumes if v.get("configMap", {}).get("name") == "labelled-images")
    assert labelled["optional"] is True


def test_every_mount_has_its_volume_and_every_file_its_key(minikube, workload):
    volumes = {volume["name"]: volume for volume in workload.spec["volumes"]} if "volumes" in workload.spec else {}
    mounts = workload.container.get("volumeMounts", [])
    assert {mount["name"] for mount in mounts} == volumes.keys()
    assert len({mount["mountPath"] for mount in mounts}) == len(mounts)
    for mount in mounts:
        if "subPath" in mount:
            name = volumes[mount["name"]]["configMap"]["name"]
            (config,) = (c for c in manifests.of_kind(minikube, "ConfigMap") if c["metadata"]["name"] == name)
            assert mount["subPath"] in config["data"]


def test_selectors_find_their_own_pods_and_no_others(minikube):
    pods = manifests.workloads(minikube)
    selectors = [
        (thing, selector.get("matchLabels", selector))
        for thing in manifests.of_kind(minikube, "Deployment", "Service", "PodDisruptionBudget")
        for selector in [thing["spec"]["selector"]]
    ]
    assert len(selectors) == 9
    for thing, selector in selectors:
        assert selector == {"app.kubernetes.io/name": thing["metadata"]["name"]}  # it can never be changed
        found = [
            pod.name
            for pod in pods
            if pod.namespace == thing["metadata"]["namespace"] and selector.items() <= pod.labels.items()
        ]
        assert found == [thing["metadata"]["name"]]


def test_services_lead_to_a_port_that_the_container_has(minikube):
    ports = {"mlops-service": 8000, "prometheus": 9090, "pushgateway": 9091, "grafana": 3000}
    services = manifests.of_kind(minikube, "Service")
    assert {service["metadata"]["name"] for service in services} == ports.keys()
    for service in services:
        name = service["metadata"]["name"]
        container = manifests.workload(minikube, name).container
        assert container["ports"] == [{"name": "http", "containerPort": ports[name]}]
        assert service["spec"]["ports"] == [{"name": "http", "port": ports[name], "targetPort": "http"}]


def test_probes_ask_that_port(workload):
    probes = {key: value for key, value in workload.container.items() if key.endswith("Probe")}
    assert bool(probes) is (workload.kind == "Deployment")
    for probe in probes.values():
        assert probe["httpGet"]["port"] == "http"


def test_roles_are_bound_to_accounts_that_are_there(minikube):
    for binding in manifests.of_kind(minikube, "RoleBinding"):
        assert exists(minikube, "Role", binding["roleRef"]["name"], binding["metadata"]["namespace"])
        for subject in binding["subjects"]:
            assert exists(minikube, subject["kind"], subject["name"], subject["namespace"])


def test_the_autoscaler_alone_has_the_number_of_replicas(minikube):
    (scaler,) = manifests.of_kind(minikube, "HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    deployment = manifests.find(minikube, target["kind"], target["name"], scaler["metadata"]["namespace"])
    assert deployment["apiVersion"] == target["apiVersion"]
    assert "replicas" not in deployment["spec"]
    assert scaler["spec"]["minReplicas"] > 1


def test_addresses_in_settings_are_services(minikube):
    monitor = manifests.workload(minikube, "post-deploy-accuracy")
    config = manifests.find(minikube, "ConfigMap", "grafana-config")
    (source,) = yaml.safe_load(config["data"]["datasources.yaml"])["datasources"]
    assert source["uid"] == "prometheus"
    addresses = [source["url"], monitor.env["PREDICT_URL"], monitor.env["PUSHGATEWAY_URL"]]
    for address in addresses:
        host, port = re.fullmatch(r"http://([a-z.-]+):(\d+)", address).groups()
        name, _, rest = host.partition(".")
        namespace = rest.partition(".")[0] or "monitoring"
        service = manifests.find(minikube, "Service", name, namespace)
        assert service["spec"]["ports"][0]["port"] == int(port)
        assert rest in ("", f"{namespace}.svc", f"{namespace}.svc.cluster.local")


@pytest.mark.parametrize(
    ("file", "rolled"),
    [
        ("base/prometheus/prometheus.yml", "prometheus"),
        ("base/prometheus/rules.yml", "prometheus"),
        ("base/grafana/grafana.ini", "grafana"),
        ("base/grafana/datasources.yaml", "grafana"),
        ("base/grafana/dashboards/service.json", "grafana"),
        ("base/grafana/dashboards/model.json", "grafana"),
    ],
)
def test_a_change_of_configuration_rolls_its_pods_and_no_others(minikube, tmp_path, file, rolled):
    shutil.copytree(manifests.ROOT, tmp_path / "kustomize")
    with (tmp_path / "kustomize" / file).open("a") as changed:
        changed.write("\n")
    after = manifests.render(tmp_path / "kustomize" / "overlays" / "minikube")
    different = [each.name for each in manifests.workloads(minikube) if each != manifests.workload(after, each.name)]
    assert different == [rolled]


def test_generated_names_carry_their_hash(minikube):
    generated = manifests.of_kind(minikube, "ConfigMap", "Secret")
    assert len(generated) == 4
    for thing in generated:
        assert HASHED.fullmatch(thing["metadata"]["name"])


def test_dashboards_are_where_grafana_looks(minikube):
    grafana = manifests.workload(minikube, "grafana")
    config = manifests.find(minikube, "ConfigMap", "grafana-config")["data"]
    (provider,) = yaml.safe_load(config["dashboards.yaml"])["providers"]
    (mount,) = (m for m in grafana.container["volumeMounts"] if m["name"] == "dashboards")
    assert provider["options"]["path"] == mount["mountPath"]
    files = {path.name for path in (manifests.ROOT / "base" / "grafana" / "dashboards").glob("*.json")}
    assert manifests.find(minikube, "ConfigMap", "grafana-dashboards")["data"].keys() == files
    home = re.search(r"^default_home_dashboard_path = (.+)$", config["grafana.ini"], re.MULTILINE).group(1)
    assert home == f"{mount['mountPath']}/service.json"


def test_prometheus_finds_all_its_rules(minikube):
    config = manifests.find(minikube, "ConfigMap", "prometheus-config")["data"]
    assert set(yaml.safe_load(config["prometheus.yml"])["rule_files"]) == config.keys() - {"prometheus.yml"}

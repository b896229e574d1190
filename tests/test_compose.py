"""compose.yaml is valid, and agrees with the manifests of the cluster."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

from services.inference.settings import Settings
from services.monitor.settings import Settings as MonitorSettings
from tests.servers import ROOT

BASE = ROOT / "kustomize" / "base"
TEXT = (ROOT / "compose.yaml").read_text()
# As compose does, with no variable set.
COMPOSE = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", TEXT))
SERVICES = COMPOSE["services"]
IN_CLUSTER = {
    "mlops-service": "inference",
    "prometheus": "prometheus",
    "pushgateway": "pushgateway",
    "grafana": "grafana",
}


def workload(name):
    """Return the container of a deployment of the cluster, or of the monitor."""
    if name == "monitor":
        job = yaml.safe_load((BASE / "monitor" / "cron-job.yaml").read_text())
        return job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    deployment = yaml.safe_load((BASE / IN_CLUSTER[name] / "deployment.yaml").read_text())
    return deployment["spec"]["template"]["spec"]["containers"][0]


def mounts(name):
    """Yield source and target of each file or folder of the repository in a container."""
    for volume in SERVICES[name].get("volumes", []):
        source, target, *_ = volume.split(":")
        if source.startswith("./"):
            yield ROOT / source, Path(target)


def test_file_follows_the_specification():
    PyCompose.from_yaml(yaml.safe_dump(COMPOSE)).validate()


def test_everything_of_the_cluster_runs():
    assert SERVICES.keys() == {*IN_CLUSTER, "monitor", "mlflow"}


@pytest.mark.parametrize("name", [*IN_CLUSTER, "monitor"])
def test_images_are_those_of_the_cluster(name):
    image = SERVICES[name]["image"]
    own = image.startswith("localhost/mlops/")  # its tag is set when it is deployed
    image = image.removeprefix("localhost/mlops/").rpartition(":")[0] if own else image
    assert image == workload(name)["image"].partition("@")[0]


@pytest.mark.parametrize("name", SERVICES)
def test_mounted_files_exist_in_the_repository(name):
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    for source, _ in mounts(name):
        place = str(source.relative_to(ROOT))
        assert any(file == place or file.startswith(f"{place}/") for file in tracked), place


@pytest.mark.parametrize("name", ["grafana", "prometheus"])
def test_every_file_of_the_cluster_is_mounted_where_it_is_there(name):
    kustomization = yaml.safe_load((BASE / name / "kustomization.yaml").read_text())
    files = {file for generator in kustomization["configMapGenerator"] for file in generator["files"]}
    shown = {file.name for source, _ in mounts(name) for file in ([source] if source.is_file() else source.iterdir())}
    assert shown == {Path(file).name for file in files}
    places = {mount["mountPath"] for mount in workload(name)["volumeMounts"]}
    for _, target in mounts(name):
        assert {str(target), str(target.parent)} & places


def test_prometheus_has_the_jobs_and_rules_of_the_cluster(tmp_path):
    own, cluster = (
        yaml.safe_load(file.read_text())
        for file in (ROOT / "scripts/compose/prometheus.yml", BASE / "prometheus/prometheus.yml")
    )
    assert own["rule_files"] == cluster["rule_files"]
    assert own["global"] == cluster["global"]
    jobs = [(job["job_name"], job.get("honor_labels", False)) for job in own["scrape_configs"]]
    assert jobs == [(job["job_name"], job.get("honor_labels", False)) for job in cluster["scrape_configs"]]
    for job in own["scrape_configs"]:
        for target in job["static_configs"][0]["targets"]:
            assert target.split(":")[0] in {*SERVICES, "localhost"}
    for source, _ in mounts("prometheus"):
        shutil.copy(source, tmp_path)
    subprocess.run(["promtool", "check", "config", tmp_path / "prometheus.yml"], check=True, capture_output=True)


def test_grafana_finds_its_data_source():
    (source,) = yaml.safe_load((BASE / "grafana/datasources.yaml").read_text())["datasources"]
    host, port = source["url"].removeprefix("http://").split(":")
    assert host in SERVICES
    assert SERVICES[host]["ports"][0].endswith(f":{port}")


def test_settings_exist_and_addresses_are_those_of_services():
    given = SERVICES["monitor"]["environment"]
    assert given.keys() == {entry["name"] for entry in workload("monitor")["env"]}
    assert {name.lower() for name in given} <= MonitorSettings.model_fields.keys()
    addresses = [value for value in given.values() if value.startswith("http")]
    assert {address.split("/")[2].split(":")[0] for address in addresses} == {"mlops-service", "mlflow", "pushgateway"}
    assert {name.lower() for name in SERVICES["mlops-service"].get("environment", {})} <= Settings.model_fields.keys()


@pytest.mark.parametrize("name", SERVICES)
def test_containers_are_hardened_and_reached_from_this_machine_only(name):
    one = SERVICES[name]
    assert one["cap_drop"] == ["ALL"] and one["security_opt"] == ["no-new-privileges:true"] and one["read_only"]
    assert all(port.startswith("127.0.0.1:") for port in one.get("ports", []))


def test_dev_container_runs_what_exists():
    text = (ROOT / ".devcontainer/devcontainer.json").read_text()
    config = json.loads("\n".join(line for line in text.splitlines() if not line.strip().startswith("//")))
    commands = config["onCreateCommand"].removeprefix("sudo ").split(" && ")
    assert (ROOT / commands[0]).exists()
    assert f"$(VENV)/{Path(commands[1]).name}:" in (ROOT / "Makefile").read_text()
    ports = {int(port.rsplit(":", 1)[1]) for one in SERVICES.values() for port in one.get("ports", [])}
    assert set(config["forwardPorts"]) == ports == set(map(int, config["portsAttributes"]))

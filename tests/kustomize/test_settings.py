"""The numbers and settings in the manifests, against what the services make of them."""

import configparser
import dataclasses
import time
from pathlib import Path

import pytest

from services.inference import drain
from services.inference import settings as inference
from services.monitor import settings as monitor
from tests.kustomize import manifests

FIVE_MINUTES = 300
# What `make minikube` makes, less what kubeadm's control plane, two CoreDNS, Calico and a metrics server ask for.
ROOM = {"cpu": 2 - 1.2, "memory": 4 * 2**30 - 512 * 2**20}


@pytest.fixture
def service(minikube):
    return manifests.workload(minikube, "mlops-service")


@pytest.fixture
def job(minikube):
    return manifests.workload(minikube, "post-deploy-accuracy")


def inside(env, folder):
    """The same settings with every path in ``folder``, where it can be made."""
    moved = {name: str(folder) + value if value.startswith("/") else value for name, value in env.items()}
    for value in (Path(value) for value in moved.values() if value.startswith(str(folder))):
        (value.parent if value.name == "drain" else value).mkdir(parents=True, exist_ok=True)
    return moved


def writable(workload):
    return [Path(mount["mountPath"]) for mount in workload.container["volumeMounts"] if not mount.get("readOnly")]


def test_the_service_understands_its_settings(service, tmp_path):
    known = {field.name.upper() for field in dataclasses.fields(inference.Settings)}
    assert service.env.keys() <= known
    loaded = inference.load(inside(service.env, tmp_path))
    assert loaded.workers <= manifests.amount(service.container["resources"]["limits"]["cpu"])
    assert loaded.graceful_timeout >= loaded.upload_timeout


def test_the_monitor_understands_its_settings(job, tmp_path):
    known = {name.upper() for name in monitor.Settings.model_fields}
    assert job.env.keys() <= known
    loaded = monitor.from_environment(inside(job.env, tmp_path))
    assert loaded.labelled_images
    assert str(loaded.mlflow_tracking_uri) == "http://host.minikube.internal:5000"


def test_what_is_written_has_a_writable_place(service, job):
    for workload, names in ((service, ("DRAIN_FILE", "PROMETHEUS_MULTIPROC_DIR")), (job, ("SPOOL_DIR",))):
        assert Path("/tmp") in writable(workload)
        for name in names:
            path = Path(workload.env[name])
            assert any(path.is_relative_to(place) for place in writable(workload)), name


def test_the_end_of_a_pod_waits_for_its_requests(service, tmp_path):
    command = service.container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == ["python", "-m", drain.__name__]
    assert drain.SECONDS >= 5
    assert service.spec["terminationGracePeriodSeconds"] > drain.SECONDS + int(service.env["GRACEFUL_TIMEOUT"])


def test_the_end_of_a_pod_starts_the_draining(monkeypatch, tmp_path):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setenv("DRAIN_FILE", str(tmp_path / "drain"))
    drain.main()
    assert (tmp_path / "drain").is_file()
    assert slept == [drain.SECONDS]


def test_a_roll_out_keeps_every_pod_until_its_successor_is_ready(minikube):
    deployment = manifests.find(minikube, "Deployment", "mlops-service")["spec"]
    assert deployment["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
    }
    budget = manifests.find(minikube, "PodDisruptionBudget", "mlops-service")["spec"]
    assert budget["maxUnavailable"] == 1
    probes = manifests.workload(minikube, "mlops-service").container
    assert probes["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert probes["livenessProbe"]["httpGet"]["path"] == "/health"
    start = probes["startupProbe"]["periodSeconds"] * probes["startupProbe"]["failureThreshold"]
    assert start < deployment["progressDeadlineSeconds"]


def test_one_disk_is_never_written_by_two(minikube):
    for deployment in manifests.of_kind(minikube, "Deployment"):
        if any(manifests.values(deployment, "persistentVolumeClaim")):
            assert deployment["spec"]["replicas"] == 1
            assert deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_the_job_ends_before_the_next_one_and_not_before_its_own_time_is_up(minikube, tmp_path):
    cron = manifests.find(minikube, "CronJob", "post-deploy-accuracy")["spec"]
    assert cron["schedule"] == "*/5 * * * *"
    assert cron["concurrencyPolicy"] == "Forbid"
    assert 10 < cron["startingDeadlineSeconds"] < FIVE_MINUTES  # below 10 the controller may never see a start
    assert (cron["successfulJobsHistoryLimit"], cron["failedJobsHistoryLimit"]) == (3, 3)
    job = cron["jobTemplate"]["spec"]
    assert job["backoffLimit"] == 0
    assert job["ttlSecondsAfterFinished"] > 3 * FIVE_MINUTES  # the history outlives it otherwise
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    workload = manifests.workload(minikube, "post-deploy-accuracy")
    settings = monitor.from_environment(inside(workload.env, tmp_path)).model_dump()
    # One picture's time is part of all pictures' time.
    times = {name: value for name, value in settings.items() if name.endswith("_timeout") and name != "predict_timeout"}
    assert times.keys() >= {"check_timeout", "tracking_timeout"}
    assert sum(times.values()) + 60 <= job["activeDeadlineSeconds"] < FIVE_MINUTES


@pytest.mark.parametrize("name", manifests.WORKLOADS)
def test_every_container_has_requests_and_limits(minikube, name):
    resources = manifests.workload(minikube, name).container["resources"]
    for what in ("cpu", "memory"):
        assert 0 < manifests.amount(resources["requests"][what]) <= manifests.amount(resources["limits"][what])


@pytest.mark.parametrize("what", ROOM)
def test_a_small_node_has_room_for_a_roll_out_while_the_service_is_at_its_largest(minikube, what):
    (scaler,) = manifests.of_kind(minikube, "HorizontalPodAutoscaler")
    asked = 0.0
    for name in manifests.WORKLOADS:
        workload = manifests.workload(minikube, name)
        pods = scaler["spec"]["maxReplicas"] if name == scaler["spec"]["scaleTargetRef"]["name"] else 1
        spec = manifests.find(minikube, workload.kind, name)["spec"]
        surge = spec.get("strategy", {}).get("rollingUpdate", {}).get("maxSurge", 0)
        asked += (pods + surge) * manifests.amount(workload.container["resources"]["requests"][what])
    assert asked <= ROOM[what]


def test_the_autoscaler_asks_for_more_before_the_limit_slows_the_service(minikube, service):
    (scaler,) = manifests.of_kind(minikube, "HorizontalPodAutoscaler")
    (metric,) = scaler["spec"]["metrics"]
    assert metric["resource"]["name"] == "cpu"
    assert manifests.amount(metric["resource"]["target"]["averageValue"]) < manifests.amount(
        service.container["resources"]["limits"]["cpu"]
    )


def test_prometheus_stays_within_its_claim(minikube):
    args = manifests.workload(minikube, "prometheus").container["args"]
    flags = dict(arg.removeprefix("--").split("=", 1) for arg in args)
    claim = manifests.find(minikube, "PersistentVolumeClaim", "prometheus-data")
    size = manifests.amount(claim["spec"]["resources"]["requests"]["storage"])
    assert manifests.amount(flags["storage.tsdb.retention.size"]) < 0.8 * size
    assert flags["storage.tsdb.retention.time"] == "15d"
    assert not [flag for flag in flags if flag.startswith("web.enable")]


def test_images_are_named_with_their_versions(minikube):
    images = {name: manifests.workload(minikube, name).container["image"] for name in manifests.WORKLOADS}
    assert images == {
        "mlops-service": "localhost/mlops/inference:local",
        "post-deploy-accuracy": "localhost/mlops/monitor:local",
        "prometheus": "prom/prometheus:v3.13.2",
        "pushgateway": "prom/pushgateway:v1.11.3",
        "grafana": "grafana/grafana:13.1.3",
    }
    for name in manifests.WORKLOADS:
        assert manifests.workload(minikube, name).container["imagePullPolicy"] == "IfNotPresent"


def test_bases_leave_the_images_and_the_password_to_an_overlay():
    objects = [thing for folder in manifests.BASES for thing in manifests.render(folder)]
    assert not manifests.of_kind(objects, "Secret")
    for name, image in (("mlops-service", "inference"), ("post-deploy-accuracy", "monitor")):
        assert manifests.workload(objects, name).container["image"] == image


def test_grafana_lets_nobody_in_without_a_password_and_asks_nothing_of_the_internet(minikube):
    config = configparser.ConfigParser()
    config.read_string(manifests.find(minikube, "ConfigMap", "grafana-config")["data"]["grafana.ini"])
    off = {
        ("auth.anonymous", "enabled"),
        ("users", "allow_sign_up"),
        ("analytics", "reporting_enabled"),
        ("analytics", "check_for_updates"),
        ("analytics", "check_for_plugin_updates"),
        ("news", "news_feed_enabled"),
        ("plugins", "preinstall_auto_update"),
    }
    assert not [(section, key) for section, key in off if config.getboolean(section, key)]
    assert config.getboolean("plugins", "preinstall_disabled")
    env = {entry["name"]: entry for entry in manifests.workload(minikube, "grafana").container["env"]}
    for name, key in (("GF_SECURITY_ADMIN_USER", "admin-user"), ("GF_SECURITY_ADMIN_PASSWORD", "admin-password")):
        assert env[name]["valueFrom"]["secretKeyRef"]["key"] == key

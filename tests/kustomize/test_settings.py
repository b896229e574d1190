"""Numbers and settings in the manifests, against each other and against the programs."""

import configparser
import importlib
import re
import time
from pathlib import Path

import pytest

from services.monitor import settings as monitor
from tests.kustomize import manifests

FIVE_MINUTES = 300
# What `make minikube` creates, less the requests of kubeadm's control plane, two CoreDNS, Calico and a metrics server.
ROOM = {"cpu": 2 - 1.2, "memory": 4 * 2**30 - 512 * 2**20}


@pytest.fixture
def job_settings(job, tmp_path, monkeypatch):
    for name, value in job.env_in(tmp_path).items():
        monkeypatch.setenv(name, value)
    return monitor.load()


def test_settings_of_the_service_exist_and_fit_together(service):
    assert service.env.keys() <= manifests.SETTINGS["inference"].keys()
    settings = manifests.SETTINGS["inference"] | service.env
    assert int(settings["WORKERS"]) <= manifests.amount(service.container["resources"]["limits"]["cpu"])
    assert int(settings["GRACEFUL_TIMEOUT"]) >= int(settings["UPLOAD_TIMEOUT"])


def test_settings_of_the_monitor_are_valid(job, job_settings):
    assert job.env.keys() <= manifests.SETTINGS["monitor"].keys()
    assert job_settings.labelled_images
    assert job_settings.mlflow_tracking_uri == "http://host.minikube.internal:5000"


def test_paths_in_settings_are_writable(service, job):
    for workload, names in ((service, ("DRAIN_FILE", "PROMETHEUS_MULTIPROC_DIR")), (job, ("SPOOL_DIR",))):
        mounts = [Path(m["mountPath"]) for m in workload.container["volumeMounts"] if not m.get("readOnly")]
        for path in ("/tmp/any", *(workload.env[name] for name in names)):
            assert any(Path(path).is_relative_to(mount) for mount in mounts), path


def test_pre_stop_drains_and_termination_waits_for_requests(service, monkeypatch, tmp_path):
    *python, module, command = service.container["lifecycle"]["preStop"]["exec"]["command"]
    drain, slept = getattr(importlib.import_module(f"{module}.__main__"), command), []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setenv("DRAIN_FILE", str(tmp_path / "drain"))
    drain()
    assert python == ["python", "-m"] and (tmp_path / "drain").is_file()
    assert sum(slept) >= 5
    assert service.spec["terminationGracePeriodSeconds"] > sum(slept) + int(service.env["GRACEFUL_TIMEOUT"])


def test_roll_out_keeps_a_pod_until_its_successor_is_ready(minikube, service):
    deployment = manifests.find(minikube, "Deployment", "mlops-service")["spec"]
    assert deployment["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
    }
    assert manifests.find(minikube, "PodDisruptionBudget", "mlops-service")["spec"]["maxUnavailable"] == 1
    probes = service.container
    assert probes["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert probes["livenessProbe"]["httpGet"]["path"] == "/health"
    start = probes["startupProbe"]["periodSeconds"] * probes["startupProbe"]["failureThreshold"]
    assert start < deployment["progressDeadlineSeconds"]


def test_volume_claims_are_written_by_one_pod(minikube):
    for deployment in manifests.of_kind(minikube, "Deployment"):
        if any(manifests.values(deployment, "persistentVolumeClaim")):
            assert deployment["spec"]["replicas"] == 1
            assert deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_job_ends_after_its_timeouts_and_before_the_next(minikube, job_settings):
    cron = manifests.find(minikube, "CronJob", "post-deploy-accuracy")["spec"]
    assert (cron["schedule"], cron["concurrencyPolicy"]) == ("*/5 * * * *", "Forbid")
    assert 10 < cron["startingDeadlineSeconds"] < FIVE_MINUTES  # below 10 the controller may never see a start
    job = cron["jobTemplate"]["spec"]
    assert (job["backoffLimit"], job["template"]["spec"]["restartPolicy"]) == (0, "Never")
    # Else the jobs of the history are gone.
    history = max(cron["successfulJobsHistoryLimit"], cron["failedJobsHistoryLimit"])
    assert job["ttlSecondsAfterFinished"] > history * FIVE_MINUTES
    # PREDICT_TIMEOUT, per image, is part of CHECK_TIMEOUT.
    timeouts = job_settings.check_timeout + job_settings.tracking_timeout + job_settings.pushgateway_timeout
    assert timeouts + 60 <= job["activeDeadlineSeconds"] < FIVE_MINUTES


def test_containers_have_requests_and_limits(workload):
    resources = workload.container["resources"]
    for what in ("cpu", "memory"):
        assert 0 < manifests.amount(resources["requests"][what]) <= manifests.amount(resources["limits"][what])


@pytest.mark.parametrize("what", ROOM)
def test_small_node_has_room_for_a_roll_out_at_full_scale(minikube, what):
    (scaler,) = manifests.of_kind(minikube, "HorizontalPodAutoscaler")
    requested = 0.0
    for workload in manifests.workloads(minikube):
        pods = scaler["spec"]["maxReplicas"] if workload.name == scaler["spec"]["scaleTargetRef"]["name"] else 1
        spec = manifests.find(minikube, workload.kind, workload.name)["spec"]
        surge = spec.get("strategy", {}).get("rollingUpdate", {}).get("maxSurge", 0)
        requested += (pods + surge) * manifests.amount(workload.container["resources"]["requests"][what])
    assert requested <= ROOM[what]


def test_autoscaler_adds_pods_below_the_cpu_limit(minikube, service):
    (scaler,) = manifests.of_kind(minikube, "HorizontalPodAutoscaler")
    (metric,) = scaler["spec"]["metrics"]
    limits = service.container["resources"]["limits"]
    target = metric["resource"]["target"]["averageValue"]
    assert manifests.amount(target) < manifests.amount(limits[metric["resource"]["name"]])


def test_prometheus_data_stays_within_its_claim(minikube):
    args = manifests.workload(minikube, "prometheus").container["args"]
    flags = dict(arg.removeprefix("--").split("=", 1) for arg in args)
    claim = manifests.find(minikube, "PersistentVolumeClaim", "prometheus-data")
    size = manifests.amount(claim["spec"]["resources"]["requests"]["storage"])
    assert manifests.amount(flags["storage.tsdb.retention.size"]) < 0.8 * size
    assert not [flag for flag in flags if flag.startswith("web.enable")]


def test_images_have_fixed_versions_and_are_never_pulled_twice(workload):
    assert re.fullmatch(r"localhost/mlops/\w+:local|(prom|grafana)/\w+:v?\d+\.\d+\.\d+", workload.container["image"])
    assert workload.container["imagePullPolicy"] == "IfNotPresent"


def test_bases_leave_images_and_passwords_to_an_overlay():
    objects = manifests.render_bases()
    assert not manifests.of_kind(objects, "Secret")
    for name, image in (("mlops-service", "inference"), ("post-deploy-accuracy", "monitor")):
        assert manifests.workload(objects, name).container["image"] == image


def test_grafana_needs_a_password_and_no_internet(minikube):
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

"""Pod Security `restricted`, which both namespaces enforce, and the limits beyond it."""

import copy
import re

import pytest

from scripts.validate import pod_security
from tests.kustomize import manifests

# The users of third-party images; ours have 10001.
USERS = {"prometheus": 65534, "pushgateway": 65534, "grafana": 472}

# One violation each: a change to the pod or its container, and a word of the expected violation.
BROKEN = [
    ("pod", {"hostNetwork": True}, "hostNetwork"),
    ("pod", {"hostPID": True}, "hostPID"),
    ("pod", {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}, "volume host"),
    ("pod", {"securityContext": {"runAsNonRoot": True}}, "seccompProfile"),
    ("pod", {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}, "runAsNonRoot"),
    ("pod context", {"runAsUser": 0}, "root"),
    ("pod context", {"seccompProfile": {"type": "Unconfined"}}, "seccompProfile"),
    ("pod context", {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}, "sysctl"),
    ("pod context", {"seLinuxOptions": {"user": "system_u"}}, "seLinuxOptions"),
    ("pod context", {"appArmorProfile": {"type": "Unconfined"}}, "appArmorProfile"),
    ("context", {"allowPrivilegeEscalation": True}, "allowPrivilegeEscalation"),
    ("context", {"capabilities": {}}, "not dropped"),
    ("context", {"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}, "added"),
    ("context", {"privileged": True}, "privileged"),
    ("context", {"runAsNonRoot": False}, "runAsNonRoot"),
    ("context", {"runAsUser": 0}, "root"),
    ("context", {"seccompProfile": {"type": "Unconfined"}}, "seccompProfile"),
    ("context", {"procMount": "Unmasked"}, "procMount"),
    ("context", {"windowsOptions": {"hostProcess": True}}, "hostProcess"),
    ("container", {"ports": [{"containerPort": 1, "hostPort": 1}]}, "hostPort"),
    ("container", {"livenessProbe": {"httpGet": {"host": "10.0.0.1", "port": 1}}}, "another host"),
]


def test_pods_comply(workload):
    assert not pod_security.violations(workload.spec)


@pytest.mark.parametrize(("where", "change", "word"), BROKEN)
def test_violations_are_found(minikube, where, change, word):
    spec = copy.deepcopy(manifests.workload(minikube, "grafana").spec)
    container = spec["containers"][0]
    {
        "pod": spec,
        "pod context": spec["securityContext"],
        "container": container,
        "context": container["securityContext"],
    }[where].update(change)
    assert any(word in violation for violation in pod_security.violations(spec))


def test_pods_have_a_numeric_user_a_read_only_root_and_bounded_volumes(workload):
    context = workload.spec["securityContext"]
    assert context["runAsUser"] == context["runAsGroup"] == USERS.get(workload.name, 10001)
    assert workload.container["securityContext"]["readOnlyRootFilesystem"] is True
    assert workload.spec["enableServiceLinks"] is False
    assert workload.spec["automountServiceAccountToken"] is (workload.name == "prometheus")
    for volume in workload.volumes.values():
        assert "persistentVolumeClaim" not in volume or context["fsGroup"] == context["runAsGroup"]
        assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"]


def test_namespaces_enforce_one_fixed_version(minikube):
    prefix, versions = "pod-security.kubernetes.io/", set()
    for namespace in manifests.of_kind(minikube, "Namespace"):
        labels = namespace["metadata"]["labels"]
        for mode in ("enforce", "audit", "warn"):
            assert labels[prefix + mode] == "restricted"
            versions.add(labels[f"{prefix}{mode}-version"])
    (version,) = versions
    assert re.fullmatch(r"v1\.\d+", version)


def test_only_prometheus_may_read_the_api_server_for_discovery(minikube):
    for account in manifests.of_kind(minikube, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    roles = manifests.of_kind(minikube, "Role")
    assert {role["metadata"]["namespace"] for role in roles} == {"mlops", "monitoring"}
    verbs = ["get", "list", "watch"]
    for role in roles:
        assert role["rules"] == [
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs},
            {"apiGroups": [""], "resources": ["services", "pods"], "verbs": verbs},
        ]
    for binding in manifests.of_kind(minikube, "RoleBinding"):
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "prometheus", "namespace": "monitoring"}]

"""Pod Security `restricted`, which both namespaces enforce, and what goes beyond it."""

import copy

import pytest

from tests.kustomize import manifests, pod_security

# As in the images that are not ours: their users have names, which say nothing of who is root.
USERS = {"prometheus": 65534, "pushgateway": 65534, "grafana": 472, "mlops-service": 10001}

# Each breaks one rule: where (in the pod, or in its container), what, and the word of it in the verdict.
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


@pytest.fixture(params=manifests.WORKLOADS)
def workload(request, minikube):
    return manifests.workload(minikube, request.param)


def test_admission_would_take_the_pods(workload):
    assert not pod_security.violations(workload.spec)


@pytest.mark.parametrize(("where", "what", "word"), BROKEN)
def test_admission_would_refuse_worse(minikube, where, what, word):
    spec = copy.deepcopy(manifests.workload(minikube, "grafana").spec)
    container = spec["containers"][0]
    {
        "pod": spec,
        "pod context": spec["securityContext"],
        "container": container,
        "context": container["securityContext"],
    }[where].update(what)
    assert any(word in violation for violation in pod_security.violations(spec))


def test_pods_have_a_numbered_user_a_read_only_root_and_no_more_than_they_need(workload):
    context = workload.spec["securityContext"]
    assert context["runAsUser"] == context["runAsGroup"] == USERS.get(workload.name, 10001)
    assert workload.container["securityContext"]["readOnlyRootFilesystem"] is True
    assert workload.spec["enableServiceLinks"] is False
    assert workload.spec["automountServiceAccountToken"] is (workload.name == "prometheus")


def test_volumes_on_a_disk_can_be_written_to_and_are_bounded(workload):
    for volume in workload.spec.get("volumes", []):
        if "persistentVolumeClaim" in volume:
            assert workload.spec["securityContext"]["fsGroup"] == workload.spec["securityContext"]["runAsGroup"]
        if "emptyDir" in volume:
            assert volume["emptyDir"]["sizeLimit"]


def test_both_namespaces_enforce_it(minikube):
    for name in ("mlops", "monitoring"):
        labels = manifests.find(minikube, "Namespace", name)["metadata"]["labels"]
        for mode in ("enforce", "audit", "warn"):
            assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"
            assert labels[f"pod-security.kubernetes.io/{mode}-version"] == "v1.34"


def test_only_prometheus_may_ask_the_api_server_and_only_for_its_targets(minikube):
    for account in manifests.of_kind(minikube, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    roles = manifests.of_kind(minikube, "Role")
    assert {role["metadata"]["namespace"] for role in roles} == {"mlops", "monitoring"}
    for role in roles:
        granted = {
            (group, resource, verb)
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        wanted = [("discovery.k8s.io", "endpointslices"), ("", "services"), ("", "pods")]
        assert granted == {(*what, verb) for what in wanted for verb in ("get", "list", "watch")}
    for binding in manifests.of_kind(minikube, "RoleBinding"):
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "prometheus", "namespace": "monitoring"}]

"""Kubernetes' Pod Security Standard `restricted` (v1.34) as code: what admission would refuse in a pod.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from collections.abc import Iterator
from typing import Any

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SECCOMP = ("RuntimeDefault", "Localhost")
SELINUX = (None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
}
HANDLERS = ("livenessProbe", "readinessProbe", "startupProbe")


def violations(spec: dict[str, Any]) -> list[str]:
    """One phrase for each rule that a pod's specification breaks."""
    pod = spec.get("securityContext", {})
    containers = [c for kind in ("containers", "initContainers", "ephemeralContainers") for c in spec.get(kind, [])]
    found = [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    found += [f"volume {v['name']}" for v in spec.get("volumes", []) if not v.keys() - {"name"} <= VOLUMES]
    found += [f"sysctl {s['name']}" for s in pod.get("sysctls", []) if s["name"] not in SYSCTLS]
    found += _context("pod", pod)
    for container in containers:
        own = container.get("securityContext", {})
        found += [f"{container['name']}: {what}" for what in _container(container, own, pod | own)]
        found += _context(container["name"], own)
    return found


def _container(container: dict[str, Any], own: dict[str, Any], context: dict[str, Any]) -> Iterator[str]:
    """``own`` is the container's context, ``context`` the same with what it inherits from the pod."""
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "capabilities are not dropped"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "capabilities are added"
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    if context.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if context.get("seccompProfile", {}).get("type") not in SECCOMP:
        yield "seccompProfile"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "hostPort"
    hooks = [container.get(name, {}) for name in HANDLERS] + [*container.get("lifecycle", {}).values()]
    if any(hook.get(action, {}).get("host") for hook in hooks for action in ("httpGet", "tcpSocket")):
        yield "a probe or hook asks another host"


def _context(whose: str, context: dict[str, Any]) -> Iterator[str]:
    """What is forbidden in a pod's context and in a container's alike."""
    if context.get("runAsUser") == 0:
        yield f"{whose}: runAsUser is root"
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield f"{whose}: hostProcess"
    if context.get("seccompProfile", {}).get("type", "RuntimeDefault") not in SECCOMP:
        yield f"{whose}: seccompProfile"
    if context.get("appArmorProfile", {}).get("type", "RuntimeDefault") not in SECCOMP:
        yield f"{whose}: appArmorProfile"
    selinux = context.get("seLinuxOptions", {})
    if selinux.get("type") not in SELINUX or selinux.get("user") or selinux.get("role"):
        yield f"{whose}: seLinuxOptions"

"""Kubernetes' Pod Security Standard `restricted` as code.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from collections.abc import Iterator
from typing import Any

# `image` since Kubernetes 1.33, though the page does not name it.
VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected"),
    "secret",
}
PROFILES = ("RuntimeDefault", "Localhost")
SELINUX = (None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
SYSCTLS = {
    "kernel.shm_rmid_forced",
    *(f"net.ipv4.{name}" for name in ("ip_local_port_range", "ip_unprivileged_port_start", "ip_local_reserved_ports")),
    *(f"net.ipv4.{name}" for name in ("ping_group_range", "tcp_syncookies", "tcp_rmem", "tcp_wmem")),
    *(f"net.ipv4.tcp_{name}" for name in ("keepalive_time", "keepalive_intvl", "keepalive_probes", "fin_timeout")),
}
HANDLERS = ("livenessProbe", "readinessProbe", "startupProbe")


def violations(spec: dict[str, Any]) -> list[str]:
    """Return the violations of a pod's specification, one phrase each."""
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
    """Check a container; ``context`` is its own context with the values inherited from the pod."""
    hooks = [container.get(name, {}) for name in HANDLERS] + [*container.get("lifecycle", {}).values()]
    capabilities = own.get("capabilities", {})
    for violated, text in (
        ("ALL" not in capabilities.get("drop", []), "capabilities are not dropped"),
        (set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}, "capabilities are added"),
        (own.get("privileged"), "privileged"),
        (own.get("allowPrivilegeEscalation") is not False, "allowPrivilegeEscalation is not false"),
        (own.get("procMount", "Default") != "Default", "procMount"),
        (context.get("runAsNonRoot") is not True, "runAsNonRoot is not true"),
        (context.get("seccompProfile", {}).get("type") not in PROFILES, "seccompProfile"),
        (any(port.get("hostPort") for port in container.get("ports", [])), "hostPort"),
        (
            any(hook.get(action, {}).get("host") for hook in hooks for action in ("httpGet", "tcpSocket")),
            "a probe or hook with another host",
        ),
    ):
        if violated:
            yield text


def _context(owner: str, context: dict[str, Any]) -> Iterator[str]:
    """Check what is forbidden for pods and containers alike."""
    if context.get("runAsUser") == 0:
        yield f"{owner}: runAsUser is root"
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield f"{owner}: hostProcess"
    for name in ("seccompProfile", "appArmorProfile"):
        if context.get(name, {}).get("type", "RuntimeDefault") not in PROFILES:
            yield f"{owner}: {name}"
    selinux = context.get("seLinuxOptions", {})
    if selinux.get("type") not in SELINUX or selinux.get("user") or selinux.get("role"):
        yield f"{owner}: seLinuxOptions"

"""Run scripts/deploy from a copy of its files, against a cluster whose pods are running services."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests import servers
from tests.scripts.cluster import Cluster

STAND_IN = Path(__file__).with_name("kubectl_stand_in.py")
# Of the environment, because an older one does not know image volumes.
KUBECTL = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") or "kubectl"
# Python only where it is needed, because its start takes half as long as kubectl.
WRAPPER = f"""#!/bin/sh
case " $* " in
  *" port-forward "* | *" exec "*) exec {sys.executable} {STAND_IN} "$@" ;;
  *) exec "$REAL_KUBECTL" "$@" ;;
esac
"""
CHAMPION = servers.ROOT / "models" / "champion"
VERSION = json.loads((CHAMPION / "manifest.json").read_text())["version"]
INFERENCE, MONITOR, MODEL = (f"localhost/mlops/{name}" for name in ("inference", "monitor", "model"))
# The cluster reacts at once; waiting longer changes no result.
PATIENCE = {"TIMEOUT": "120", "STUCK_TIMEOUT": "0", "SMOKE_TIMEOUT": "0", "LOCK_TIMEOUT": "0"}


class Desk:
    """A copy of the repository, and the settings of scripts/deploy."""

    def __init__(self, folder: Path, cluster: Cluster, address: str) -> None:
        self.cluster = cluster
        self.shell = ["sh"]
        self.repository = folder / "repository"
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        for part in ("scripts/deploying", "kustomize"):
            shutil.copytree(servers.ROOT / part, self.repository / part)
        for part in ("scripts/deploy", "docs/cat.jpg", "models/champion/manifest.json"):
            (self.repository / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(servers.ROOT / part, self.repository / part)
        self.bin = folder / "bin"
        self.bin.mkdir()
        (self.bin / "kubectl").write_text(WRAPPER)
        (self.bin / "kubectl").chmod(0o755)
        self.nodes = folder / "nodes.json"
        self.nodes.write_text("{}")
        self.environment = servers.environment() | PATIENCE
        self.environment |= {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "TMPDIR": str(self.temporary)}
        # Garbage collection costs a short-lived kubectl more than it saves.
        self.environment |= {"GOGC": "off", "REAL_KUBECTL": KUBECTL, "NODE": str(self.nodes), "HOME": str(folder)}
        self.environment |= {"KUBECONFIG": str(self.kubeconfig(folder / "kubeconfig", address))}

    @staticmethod
    def kubeconfig(path: Path, address: str) -> Path:
        """Write a kubeconfig for an API server."""
        named: dict[str, Any] = {"clusters": [{"name": "it", "cluster": {"server": address}}]}
        named |= {"users": [{"name": "it", "user": {}}], "current-context": "minikube"}
        named |= {"contexts": [{"name": "minikube", "context": {"cluster": "it", "user": "it"}}]}
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "Config"} | named))
        return path

    def image(self, tag: str, port: int, bundle: Path = CHAMPION, registry: str = "localhost/mlops") -> None:
        """Let a running service stand for the pods of an image."""
        nodes = json.loads(self.nodes.read_text())
        nodes[f"{registry}/inference:{tag}"] = {"port": port, "bundle": str(bundle)}
        self.nodes.write_text(json.dumps(nodes))

    def model(self, version: str, port: int, bundle: Path = CHAMPION) -> None:
        """Let a running service stand for the pods with the image of a model."""
        nodes = json.loads(self.nodes.read_text())
        nodes[f"{MODEL}:{version}"] = {"port": port, "bundle": str(bundle)}
        self.nodes.write_text(json.dumps(nodes))

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.shell, str(self.repository / "scripts" / "deploy"), *arguments],
            env=self.environment | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def deploy(self, *arguments: str, **settings: str) -> tuple[int, str]:
        """Return the exit code and the output, and check that nothing is left behind."""
        process = self.start(*arguments, **settings)
        printed, _ = process.communicate(timeout=120)
        self.assert_nothing_left()
        return process.returncode, printed

    def assert_nothing_left(self) -> None:
        assert list(self.temporary.iterdir()) == []
        assert not self.cluster.find("configmaps", "default", fields="metadata.name=deploy-lock")

    def wait_for_line(self, process: subprocess.Popen[str], text: str) -> str:
        assert process.stdout
        printed = ""
        while text not in printed:
            line = process.stdout.readline()
            assert line, f"ended before it printed {text!r}:\n{printed}"
            printed += line
        return printed

    def running_model(self) -> str:
        """Return the version of the model of the service."""
        service = self.cluster.get("deployments", "mlops", "mlops-service")["spec"]["template"]["spec"]
        images = [one["image"] for one in service.get("initContainers", [])]
        images += [volume["image"]["reference"] for volume in service["volumes"] if "image" in volume]
        (version,) = [image.removeprefix(f"{MODEL}:") for image in images if image.startswith(MODEL)]
        return version

    def running(self) -> list[str]:
        """Return the images of the service and of the job."""
        service = self.cluster.get("deployments", "mlops", "mlops-service")["spec"]["template"]["spec"]
        job = self.cluster.get("cronjobs", "monitoring", "post-deploy-accuracy")["spec"]["jobTemplate"]["spec"]
        return [pod["containers"][0]["image"] for pod in (service, job["template"]["spec"])]

    def overlay(self, name: str, **kustomization: Any) -> None:
        """Write an overlay."""
        folder = self.repository / "kustomize" / "overlays" / name
        folder.mkdir(exist_ok=True)
        head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
        (folder / "kustomization.yaml").write_text(json.dumps(head | kustomization))

    def scale(self, replicas: int) -> None:
        """Scale the service by hand."""
        self.cluster.patch("deployments", "mlops", "mlops-service", {"spec": {"replicas": replicas}})

    def replicas(self) -> int:
        spec = self.cluster.get("deployments", "mlops", "mlops-service")["spec"]
        return spec["replicas"]  # type: ignore[no-any-return]

    def state(self) -> dict[str, Any]:
        """Return all objects without pods, events and fields that the cluster adds."""
        added = {"uid", "resourceVersion", "generation", "creationTimestamp"}
        return {
            "/".join(key): {name: value for name, value in thing.items() if name not in ("status", "metadata")}
            | {"metadata": {name: value for name, value in thing["metadata"].items() if name not in added}}
            for key, thing in self.cluster.objects.items()
            if key[0] not in ("pods", "replicasets", "events")
        }

    def lock(self, expires: float) -> None:
        """Create the lock of another deploy."""
        data = {"holder": "somebody@elsewhere", "expires": str(int(time.time() + expires))}
        lock = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "deploy-lock"}, "data": data}
        self.cluster.create("configmaps", "default", lock)

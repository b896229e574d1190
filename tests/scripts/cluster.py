"""A Kubernetes cluster for tests of scripts/deploy: objects, and the reactions of controllers and kubelet."""

import itertools
import json
import threading
import zlib
from typing import Any

Object = dict[str, Any]

RECORD = "kubectl.kubernetes.io/last-applied-configuration"
BACK_OFF = "Back-off pulling image"


class RefusedError(Exception):
    """The API server refuses a request."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        self.status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        self.status |= {"code": code, "reason": reason, "message": message}
        self.code = code


class Cluster:
    """The objects of a cluster."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.missing: set[str] = set()
        """Images that cannot be pulled."""
        self.slow: set[str] = set()
        """Images whose pods never become ready, without a reason in their status."""
        self.logs: dict[str, str] = {}
        """Logs of the pods of a Deployment."""
        self.denied: set[str] = set()
        """Resources that must not be written."""
        self.keeps_broken = False
        """Pods that never were ready stay until the new one is ready."""
        self.leaving: float = 0
        """Seconds until a replaced pod is gone."""
        self.changes: list[str] = []
        """Log of created, configured and deleted objects, without pods and ReplicaSets."""
        self._count = itertools.count(1)
        for name in ("default", "kube-system"):
            self.create("namespaces", "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        self.changes.clear()

    def get(self, resource: str, namespace: str, name: str) -> Object:
        try:
            return self.objects[resource, namespace, name]
        except KeyError:
            raise RefusedError(404, "NotFound", f'{resource} "{name}" not found') from None

    def find(self, resource: str, namespace: str, labels: str = "", fields: str = "") -> list[Object]:
        found = [o for (r, n, _), o in sorted(self.objects.items()) if r == resource and namespace in ("", n)]
        for pair in filter(None, labels.split(",")):
            key, value = pair.split("=")
            found = [o for o in found if o["metadata"].get("labels", {}).get(key) == value]
        if fields.startswith("metadata.name="):
            found = [o for o in found if o["metadata"]["name"] == fields.partition("=")[2]]
        return found

    def create(self, resource: str, namespace: str, new: Object) -> Object:
        key = resource, namespace, new["metadata"]["name"]
        if key in self.objects:
            raise RefusedError(409, "AlreadyExists", f'{resource} "{key[2]}" already exists')
        if namespace and ("namespaces", "", namespace) not in self.objects:
            raise RefusedError(404, "NotFound", f'namespaces "{namespace}" not found')
        meta = {"uid": f"uid-{next(self._count)}", "creationTimestamp": "2026-11-01T12:00:00Z", "generation": 1}
        new["metadata"] |= meta | ({"namespace": namespace} if namespace else {})
        return self._store("created", key, new)

    def replace(self, resource: str, namespace: str, new: Object) -> Object:
        key = resource, namespace, new["metadata"]["name"]
        old = self.get(*key)
        version = new["metadata"].get("resourceVersion")
        if version and version != old["metadata"]["resourceVersion"]:
            raise RefusedError(409, "Conflict", f'Operation cannot be fulfilled on {resource} "{key[2]}"')
        kept = {name: old["metadata"][name] for name in ("uid", "creationTimestamp", "generation", "resourceVersion")}
        new["metadata"] |= kept
        new |= {"status": old["status"]} if "status" in old else {}
        if new == old:
            return old
        new["metadata"]["generation"] += 1
        return self._store("configured", key, new)

    def patch(self, resource: str, namespace: str, name: str, patch: Object) -> Object:
        """Apply a patch of kubectl apply, whose annotation has the whole new object, or one of the replicas."""
        old = self.get(resource, namespace, name)
        if _within(patch, old):
            return old
        if patch.keys() == {"spec"} and patch["spec"].keys() == {"replicas"}:
            return self.replace(resource, namespace, old | {"spec": old["spec"] | patch["spec"]})
        record = patch.get("metadata", {}).get("annotations", {}).get(RECORD)
        if not record:
            raise RefusedError(400, "BadRequest", f"a patch that is not of kubectl apply: {patch}")
        new = json.loads(record)
        new["metadata"].setdefault("annotations", {})[RECORD] = record
        # Fields of others, such as an autoscaler, stay unless the patch names them.
        others = old.get("spec", {}).keys() - new.get("spec", {}).keys() - patch.get("spec", {}).keys()
        new |= {"spec": new.get("spec", {}) | {key: old["spec"][key] for key in others}} if others else {}
        return self.replace(resource, namespace, new)

    def delete(self, resource: str, namespace: str, name: str) -> Object:
        gone = self.get(resource, namespace, name)
        del self.objects[resource, namespace, name]
        if resource == "deployments":
            for pod in self.find("pods", namespace, f"app.kubernetes.io/name={name}"):
                del self.objects["pods", namespace, pod["metadata"]["name"]]
        self.changes.append(f"deleted {resource}/{name}")
        return gone

    def _store(self, verb: str, key: tuple[str, str, str], new: Object) -> Object:
        if key[0] in self.denied:
            raise RefusedError(403, "Forbidden", f'{key[0]} "{key[2]}" is forbidden')
        new["metadata"]["resourceVersion"] = str(next(self._count))
        self.objects[key] = new
        if key[0] not in ("pods", "replicasets"):
            self.changes.append(f"{verb} {key[0]}/{key[2]}")
        if key[0] == "deployments":
            self._roll_out(key[1], new)
        return new

    def _roll_out(self, namespace: str, deployment: Object) -> None:
        """Start a pod of the new template, and remove the others once it is ready."""
        meta, template = deployment["metadata"], deployment["spec"]["template"]
        wanted = deployment["spec"].get("replicas", 1)
        pods = self.find("pods", namespace, f"app.kubernetes.io/name={meta['labels']['app.kubernetes.io/name']}")
        old = [pod for pod in pods if pod["spec"] != template["spec"] or not wanted]
        ready = True
        if wanted and len(old) == len(pods):
            replica_set = self._replica_set(namespace, deployment)
            ready = self._start(namespace, f"{meta['name']}-{next(self._count)}", template, replica_set)
        elif wanted:
            self._replica_set(namespace, deployment)
            (same,) = (pod for pod in pods if pod not in old)
            ready = same["status"]["containerStatuses"][0]["ready"]
        for pod in old:
            # A ready pod stays until the new one is ready; another goes at once, unless there would be too few.
            if ready or not (self.keeps_broken or pod["status"]["containerStatuses"][0]["ready"]):
                pod["metadata"]["deletionTimestamp"] = "2026-11-01T12:00:00Z"
                key = "pods", namespace, pod["metadata"]["name"]
                if self.leaving:
                    threading.Timer(self.leaving, self.objects.pop, (key, None)).start()
                else:
                    del self.objects[key]
        # One pod stands for all that are wanted.
        available = wanted if ready or any(pod["status"]["containerStatuses"][0]["ready"] for pod in old) else 0
        deployment["status"] = {"observedGeneration": meta["generation"], "updatedReplicas": wanted if ready else 1}
        deployment["status"] |= {"replicas": wanted if ready else wanted + 1}
        deployment["status"] |= {"availableReplicas": available, "readyReplicas": available}

    def _replica_set(self, namespace: str, deployment: Object) -> str:
        """Create or renew the ReplicaSet of a template; return its hash."""
        name, template = deployment["metadata"]["name"], json.dumps(deployment["spec"]["template"]["spec"])
        label = f"{zlib.crc32(template.encode()):x}"
        meta = {"name": f"{name}-{label}", "labels": {"pod-template-hash": label}}
        meta |= {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": ""}]}
        revisions = [
            int(found["metadata"]["annotations"]["deployment.kubernetes.io/revision"])
            for found in self.find("replicasets", namespace)
        ]
        meta |= {"annotations": {"deployment.kubernetes.io/revision": str(max(revisions, default=0) + 1)}}
        self.objects.pop(("replicasets", namespace, meta["name"]), None)
        self.create("replicasets", namespace, {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta})
        return label

    def _start(self, namespace: str, name: str, template: Object, replica_set: str) -> bool:
        statuses = {}
        for kind in ("initContainers", "containers"):
            statuses[kind] = [self._container(namespace, name, one) for one in template["spec"].get(kind, [])]
        if any("waiting" in one["state"] for one in statuses["initContainers"]):
            for one in statuses["containers"]:
                one |= {"ready": False, "state": {"waiting": {"reason": "PodInitializing"}}}
        pulled = all("running" in one["state"] for kind in statuses.values() for one in kind)
        ready = all(one["ready"] for kind in statuses.values() for one in kind)
        labels = template["metadata"]["labels"] | {"pod-template-hash": replica_set}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}}
        pod |= {"spec": template["spec"]}
        pod["status"] = {"phase": "Running" if pulled else "Pending", "containerStatuses": statuses["containers"]}
        pod["status"] |= {"initContainerStatuses": statuses["initContainers"]} if statuses["initContainers"] else {}
        self.create("pods", namespace, pod)
        return ready

    def _container(self, namespace: str, pod: str, container: Object) -> Object:
        """Return the status of a container that has just started, or whose image cannot be pulled."""
        image = container["image"]
        state: Object = {"running": {"startedAt": "2026-11-01T12:00:00Z"}}
        if image in self.missing:
            state = {"waiting": {"reason": "ImagePullBackOff", "message": f"{BACK_OFF} {image}"}}
            self._event(namespace, pod, f'{BACK_OFF} "{image}"')
        status = {"name": container["name"], "ready": image not in self.missing | self.slow, "restartCount": 0}
        return status | {"image": image, "imageID": "", "state": state}

    def _event(self, namespace: str, pod: str, message: str) -> None:
        event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": f"event-{next(self._count)}"}}
        event |= {"type": "Warning", "reason": "Failed", "message": message, "count": 1, "source": {}}
        event |= {"involvedObject": {"kind": "Pod", "namespace": namespace, "name": pod}}
        event |= {"firstTimestamp": "2026-11-01T12:00:00Z", "lastTimestamp": "2026-11-01T12:00:00Z"}
        self.create("events", namespace, event)


def _within(part: Any, whole: Any) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and _within(value, whole[key]) for key, value in part.items())
    return bool(part == whole)

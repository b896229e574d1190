"""A Kubernetes API server for the requests of scripts/deploy.

kubectl is the real one, and so are its options, templates and patches. The server refuses unknown requests, so that
no mistake is hidden.
"""

import contextlib
import copy
import http.server
import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.scripts.cluster import Cluster, Object, RefusedError

GROUPS = {
    "v1": [
        *("Namespace", "ServiceAccount", "ConfigMap", "Secret", "Service", "PersistentVolumeClaim", "Pod", "Event"),
        *("LimitRange", "ResourceQuota"),
    ],
    "apps/v1": ["Deployment", "ReplicaSet"],
    "batch/v1": ["CronJob", "Job"],
    "autoscaling/v2": ["HorizontalPodAutoscaler"],
    "policy/v1": ["PodDisruptionBudget"],
    "networking.k8s.io/v1": ["NetworkPolicy"],
    "rbac.authorization.k8s.io/v1": ["Role", "RoleBinding"],
    "events.k8s.io/v1": ["Event"],
}


def plural(kind: str) -> str:
    return re.sub("y$", "ie", kind.lower()) + "s"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    cluster: Cluster

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # an interrupted kubectl
            super().handle()

    def log_message(self, *_: Any) -> None: ...

    def _answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        try:
            if "watch" in query:
                return self._watch(path, {name: values[0] for name, values in query.items()})
            with self.cluster.lock:
                answer = self._discovery(path) or self._objects(path, {n: v[0] for n, v in query.items()}, body)
            self._send(200, answer)
        except RefusedError as refused:
            self._send(refused.code, refused.status)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

    def _send(self, code: int, answer: Object | str) -> None:
        text = isinstance(answer, str)
        data = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if text else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _discovery(self, path: str) -> Object | None:
        if path == "/version":
            return {"major": "1", "minor": "36", "gitVersion": "v1.36.1"}
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        if path == "/apis":
            names = [tuple(group.split("/")) for group in GROUPS if "/" in group]
            version = [{"groupVersion": f"{name}/{v}", "version": v} for name, v in names]
            groups = [
                {"name": n, "versions": [v], "preferredVersion": v} for (n, _), v in zip(names, version, strict=True)
            ]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        if path == "/openapi/v3":
            return {"paths": {self._root(g)[1:]: {"serverRelativeURL": f"/openapi/v3{self._root(g)}"} for g in GROUPS}}
        for group, kinds in GROUPS.items():
            if path == self._root(group):
                return {"kind": "APIResourceList", "groupVersion": group, "resources": list(map(_resource, kinds))}
            if path == f"/openapi/v3{self._root(group)}":
                return {"openapi": "3.0.0", "paths": {f"/{kind}": _validated(group, kind) for kind in kinds}}
        return None

    @staticmethod
    def _root(group: str) -> str:
        return f"/apis/{group}" if "/" in group else f"/api/{group}"

    def _parse(self, path: str) -> tuple[str, str, str, str, str]:
        """Return group with version, resource, namespace, name and subresource."""
        for group, kinds in GROUPS.items():
            if path.startswith(self._root(group) + "/"):
                parts = path.removeprefix(self._root(group) + "/").split("/")
                namespace = parts[1] if parts[0] == "namespaces" and len(parts) > 2 else ""
                resource, name, sub, *_ = [*map(unquote, parts[2:] if namespace else parts), "", ""]
                if resource in map(plural, kinds):
                    return group, resource, namespace, name, sub
        raise RefusedError(404, "NotFound", f"this server does not know {path}")

    def _objects(self, path: str, query: dict[str, str], body: bytes) -> Object | str:
        group, resource, namespace, name, sub = self._parse(path)
        if sub == "log" and resource == "pods":
            pod = self.cluster.get(resource, namespace, name)
            if query.get("previous") == "true":
                raise RefusedError(400, "BadRequest", f"previous terminated container of {name} not found")
            if any(one["name"] == query.get("container") for one in pod["spec"].get("initContainers", [])):
                return ""
            return self.cluster.logs.get(name.rpartition("-")[0], f"a log line of {name}\n")
        if sub:
            raise RefusedError(404, "NotFound", f"this server does not know {path}")
        if self.command == "GET" and name:
            return self.cluster.get(resource, namespace, name)
        if self.command == "GET":
            items = self.cluster.find(
                resource, namespace, query.get("labelSelector", ""), query.get("fieldSelector", "")
            )
            kind = next(kind for kind in GROUPS[group] if plural(kind) == resource)
            return {"kind": f"{kind}List", "apiVersion": group, "metadata": {"resourceVersion": "1"}, "items": items}
        if self.command == "DELETE" and name:
            return self.cluster.delete(resource, namespace, name)
        if "json" not in self.headers.get("Content-Type", ""):
            raise RefusedError(415, "UnsupportedMediaType", "this server reads JSON")
        sent = json.loads(body)
        if self.command == "POST" and not name:
            return self.cluster.create(resource, namespace, sent)
        if self.command == "PUT" and sent["metadata"]["name"] == name:
            return self.cluster.replace(resource, namespace, sent)
        if self.command == "PATCH" and "merge-patch" in self.headers["Content-Type"]:
            return self.cluster.patch(resource, namespace, name, sent)
        raise RefusedError(405, "MethodNotAllowed", f"{self.command} {path}")

    def _watch(self, path: str, query: dict[str, str]) -> None:
        """Send an object, and its changes until the client closes the connection."""
        _, resource, namespace, _, _ = self._parse(path)
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        seen, end = None, time.monotonic() + 60
        with contextlib.suppress(OSError):
            while time.monotonic() < end:
                with self.cluster.lock:
                    found = self.cluster.find(resource, namespace, fields=query.get("fieldSelector", ""))
                    now = json.dumps({"type": "MODIFIED" if seen else "ADDED", "object": found[0]})
                if seen is None and "sendInitialEvents" in query:
                    mark = {"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}
                    kinds = {name: found[0][name] for name in ("apiVersion", "kind")}
                    now += "\n" + json.dumps({"type": "BOOKMARK", "object": kinds | {"metadata": mark}})
                if found[0] != seen:
                    self.wfile.write(now.encode() + b"\n")
                    seen = copy.deepcopy(found[0])
                time.sleep(0.1)
                self.wfile.flush()


def _resource(kind: str) -> Object:
    verbs = ["get", "list", "watch", "create", "update", "patch", "delete"]
    return {"name": plural(kind), "singularName": "", "namespaced": kind != "Namespace", "kind": kind, "verbs": verbs}


def _validated(group: str, kind: str) -> Object:
    """Tell kubectl that the server validates fields."""
    name, _, version = group.rpartition("/")
    operation = {"x-kubernetes-group-version-kind": {"group": name, "version": version, "kind": kind}}
    return {
        "patch": operation
        | {"parameters": [{"name": "fieldValidation", "in": "query"}], "responses": {"200": {"description": "OK"}}}
    }


@contextlib.contextmanager
def running() -> Iterator[tuple[Cluster, str]]:
    """Run the API server of a new cluster; yield both the cluster and the address."""
    cluster = Cluster()
    handler = type("Handler", (_Handler,), {"cluster": cluster})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield cluster, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

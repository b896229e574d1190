"""Rules that no schema has: versions and digests of images, restricted pods, and what production must not contain."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from scripts.validate import pod_security
from scripts.validate.builds import Object

DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
# Before the first publication there is no digest of our images; MLflow's was in no public file that could be read.
# `python -m scripts.pin_images` writes both.
MAY_WAIT = re.compile(r"ghcr\.io/(owner/repository/\w+|mlflow/mlflow):[\w.-]+")
NAMES_OF_BASES = ("inference", "monitor", "model")


def violations(objects: Sequence[Object], production: bool) -> Iterator[str]:
    """Yield the violations of a rule, one sentence each."""
    for thing in objects:
        name = f"{thing['kind']} {thing['metadata']['name']}"
        spec = pod_spec(thing)
        found = [*_pod(spec, production)] if spec else []
        if thing["kind"] == "Namespace":
            found += _namespace(thing)
        if production:
            found += _production(thing)
        yield from (f"{name}: {each}" for each in found)
    if production:
        yield from _secrets(objects)
        yield from _network(objects)


def waiting_images(objects: Sequence[Object]) -> set[str]:
    """Return the images that have no digest yet."""
    specs = filter(None, map(pod_spec, objects))
    return {c["image"] for spec in specs for c in containers(spec) if not DIGEST.search(c["image"])}


def pod_spec(thing: Object) -> dict[str, Any] | None:
    """Return the specification of an object's pods."""
    spec = thing.get("spec", {})
    template = spec.get("jobTemplate", thing).get("spec", {}).get("template", {})
    pod = template.get("spec") if isinstance(template, dict) else None
    return pod if isinstance(pod, dict) and "containers" in pod else None


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all containers of a pod."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def _pod(spec: dict[str, Any], production: bool) -> Iterator[str]:
    yield from pod_security.violations(spec)
    for container in containers(spec):
        image, name = container["image"], container["name"]
        tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
        if tag == "latest" or not (tag or DIGEST.search(image) or image in NAMES_OF_BASES):
            yield f"{name}: {image} names no version"
        if production and not DIGEST.search(image) and not MAY_WAIT.fullmatch(image):
            yield f"{name}: {image} has no digest"
        if not container.get("securityContext", {}).get("readOnlyRootFilesystem"):
            yield f"{name}: its root file system is writable"
        resources = container.get("resources", {})
        if not all({"cpu", "memory"} <= resources.get(kind, {}).keys() for kind in ("requests", "limits")):
            yield f"{name}: no requests or no limits of CPU and memory"


def _namespace(thing: Object) -> Iterator[str]:
    labels = thing["metadata"].get("labels", {})
    if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
        yield "Pod Security is not restricted"
    if not re.fullmatch(r"v1\.\d+", labels.get("pod-security.kubernetes.io/enforce-version", "")):
        yield "Pod Security has no fixed version"


def _production(thing: Object) -> Iterator[str]:
    if "minikube" in json.dumps(thing):
        yield "it names minikube"
    if thing["kind"] == "Service" and thing["spec"].get("type", "ClusterIP") != "ClusterIP":
        yield f"{thing['spec']['type']}: only the Gateway is reachable from outside"
    if thing["kind"] == "Secret":
        yield "a Secret in Git"


def _secrets(objects: Sequence[Object]) -> Iterator[str]:
    """Yield Secrets that pods need and nothing creates."""
    made = set()
    for thing in objects:
        if thing["kind"] in ("ExternalSecret", "Certificate"):
            target = thing["spec"].get("target", {}).get("name") or thing["spec"].get("secretName")
            made.add((thing["metadata"]["namespace"], target))
    for thing in objects:
        spec = pod_spec(thing)
        if spec:
            needed = {reference["name"] for reference in _values(spec, "secretKeyRef")}
            needed |= {volume["secret"]["secretName"] for volume in spec.get("volumes", []) if "secret" in volume}
            for name in sorted(needed):
                if (thing["metadata"]["namespace"], name) not in made:
                    yield f"{thing['kind']} {thing['metadata']['name']}: no ExternalSecret makes the Secret {name}"


def _network(objects: Sequence[Object]) -> Iterator[str]:
    """Yield namespaces in which a pod without a policy of its own is not cut off."""
    denied = {
        thing["metadata"]["namespace"]
        for thing in objects
        if thing["kind"] == "NetworkPolicy"
        and not thing["spec"]["podSelector"]
        and set(thing["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    }
    for namespace in sorted({thing["metadata"]["namespace"] for thing in objects if pod_spec(thing)} - denied):
        yield f"the namespace {namespace} has no NetworkPolicy that denies all traffic"


def _values(tree: object, key: str) -> Iterator[Any]:
    if isinstance(tree, dict):
        if key in tree:
            yield tree[key]
        for value in tree.values():
            yield from _values(value, key)
    elif isinstance(tree, list):
        for value in tree:
            yield from _values(value, key)

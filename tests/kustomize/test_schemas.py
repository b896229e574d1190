"""The manifests, against the schemas and limits of an API server."""

import copy
import functools
import json
import re

import kubernetes_validate
import pytest
from kubernetes_validate import utils

from scripts.validate import schemas
from tests.kustomize import manifests

VERSIONS = [utils.major_minor(version) for version in utils.all_versions()[-3:]]
LARGEST = 262_144  # bytes of an annotation; kubectl apply keeps a copy of the whole object in one
# The first unit of each series that a server writes back; another form is a change at every apply.
CANONICAL = {"m": 1000, "Ki": 1024, "Mi": 1024, "Gi": 1024}
SCHEMAS = functools.cache(utils.schema_contents)


@pytest.fixture(autouse=True)
def _schemas_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utils, "schema_contents", SCHEMAS)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", [*manifests.BASES, *manifests.OVERLAYS], ids=lambda folder: folder.name)
def test_manifests_are_valid_without_unknown_fields(folder, version):
    for thing in manifests.render(folder):
        if schemas.custom_schema(thing["apiVersion"], thing["kind"]):
            continue  # see tests/scripts/validate
        assert kubernetes_validate.validate(thing, version, strict=True) == version


def test_unknown_field_is_rejected_everywhere(minikube):
    for thing in minikube:
        wrong = copy.deepcopy(thing)
        wrong.setdefault("spec", {})["replicaz"] = 1
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def deprecated(thing: manifests.Object, version: str) -> list[str]:
    """Return the fields of an object that its schema calls deprecated."""
    definitions = SCHEMAS(f"kubernetes-json-schema/v{version}.0-local-strict/_definitions.json", version)["$defs"]
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", thing["apiVersion"])
    name = f"kubernetes-json-schema/v{version}.0-local-strict/{thing['kind'].lower()}-{group}.json"

    def walk(value, schema, path):
        schema = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        if isinstance(value, list):
            return [found for each in value for found in walk(each, schema.get("items", {}), path)]
        if not isinstance(value, dict):
            return []
        found = []
        for key, inner in value.items():
            field = schema.get("properties", {}).get(key, {})
            if re.match(r"(\w+ is )?(a )?deprecated|deprecated:", field.get("description", ""), re.IGNORECASE):
                found.append(f"{path}.{key}")
            found += walk(inner, field, f"{path}.{key}")
        return found

    return walk(thing, SCHEMAS(name, version), thing["kind"])


def test_no_version_or_field_is_deprecated(minikube):
    for thing in minikube:
        assert re.fullmatch(r"(.+/)?v\d+", thing["apiVersion"]), f"{thing['apiVersion']} is not a stable version"
        assert not deprecated(thing, VERSIONS[-1])
    old = copy.deepcopy(manifests.find(minikube, "Deployment", "grafana"))
    old["spec"]["template"]["spec"]["serviceAccount"] = "grafana"
    assert deprecated(old, VERSIONS[-1]) == ["Deployment.spec.template.spec.serviceAccount"]


def test_objects_are_distinct_and_in_our_namespaces_which_come_first(minikube):
    assert {each.name for each in manifests.workloads(minikube)} == set(manifests.WORKLOADS)
    assert [(thing["kind"], thing["metadata"]["name"]) for thing in minikube[:2]] == [
        ("Namespace", "mlops"),
        ("Namespace", "monitoring"),
    ]
    keys = {(thing["kind"], thing["metadata"].get("namespace"), thing["metadata"]["name"]) for thing in minikube}
    assert len(keys) == len(minikube)
    assert {namespace for _, namespace, _ in keys} == {None, "mlops", "monitoring"}
    assert {kind for kind, namespace, _ in keys if not namespace} == {"Namespace"}


def test_standard_labels_are_everywhere(minikube):
    everywhere = {"app.kubernetes.io/part-of": "image-classification", "app.kubernetes.io/managed-by": "kustomize"}
    for thing in minikube:
        assert everywhere.items() <= thing["metadata"]["labels"].items(), thing["metadata"]["name"]
    for each in manifests.workloads(minikube):
        assert each.labels["app.kubernetes.io/name"] == each.name
        assert everywhere.keys() | {"app.kubernetes.io/component", "app.kubernetes.io/name"} == each.labels.keys()


def test_objects_fit_into_the_annotation_of_kubectl_apply(minikube):
    for thing in minikube:
        assert len(json.dumps(thing)) < LARGEST, thing["metadata"]["name"]


def test_second_apply_changes_nothing(minikube):
    """The server writes these in one form only, and compares a list of rules as a whole."""
    quantities = [q for block in manifests.values(minikube, "requests", "limits") for q in block.values()]
    for quantity in [*quantities, *manifests.values(minikube, "sizeLimit", "averageValue")]:
        number, unit = re.fullmatch(r"([1-9]\d*)(m|Ki|Mi|Gi)?", quantity).groups()
        assert not unit or int(number) % CANONICAL[unit], f"{quantity} has a shorter form"
    for policy in manifests.of_kind(minikube, "NetworkPolicy"):
        assert all("protocol" in port for ports in manifests.values(policy, "ports") for port in ports)

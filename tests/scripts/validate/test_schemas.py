"""Objects that a strict API server would refuse are found, custom resources included."""

import copy

import pytest

from scripts.validate import builds, schemas

CUSTOM = {path.name.partition(".")[0] for path in schemas.FOLDER.iterdir()}


@pytest.fixture(scope="module")
def custom():
    """One object of each custom resource."""
    found = {
        thing["kind"]: thing
        for build in builds.all_builds()
        if build.production
        for thing in build.objects()
        if schemas.custom_schema(thing["apiVersion"], thing["kind"])
    }
    assert found.keys() == CUSTOM
    return found


@pytest.mark.parametrize("kind", sorted(CUSTOM))
@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.update(spek={}),
        lambda t: t["spec"].update(replicaz=1),
        lambda t: t["metadata"].update(labelz={}),
        lambda t: t["metadata"].update(name="Not_a_name"),
        lambda t: t.pop("spec"),
        lambda t: t["spec"].clear(),
    ],
)
def test_wrong_custom_resource_is_found(custom, kind, change):
    assert not list(schemas.violations([custom[kind]]))
    wrong = copy.deepcopy(custom[kind])
    change(wrong)
    (violation,) = schemas.violations([wrong])
    assert violation.startswith(kind)


def test_kind_without_schema_is_found():
    (violation,) = schemas.violations(
        [{"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {}}]
    )
    assert "no schema for example.com/v1" in violation


def test_unknown_field_of_a_core_kind_is_found():
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"}, "automount": False}
    (violation,) = schemas.violations([account])
    assert violation.startswith("ServiceAccount a: ")

"""Check objects strictly against schemas: Kubernetes' own, and those of the custom resources that are used here.

The schemas of Kubernetes come from the package kubernetes-validate. Those in ``schemas/`` are our own: they allow only
the fields that this repository uses, with the types and values that the definitions of the projects give them.
"""

import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from kubernetes_validate import utils

from scripts.validate.builds import Object

FOLDER = Path(__file__).parent / "schemas"
VERSION = utils.major_minor(utils.all_versions()[-1])
# The package reads its files, which have megabytes, for each object anew.
utils.schema_contents = functools.cache(utils.schema_contents)
METADATA = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"},
        "namespace": {"type": "string"},
        **{key: {"type": "object", "additionalProperties": {"type": "string"}} for key in ("labels", "annotations")},
    },
}


def violations(objects: Sequence[Object]) -> Iterator[str]:
    """Yield what a strict API server would refuse, one sentence each."""
    for thing in objects:
        if violation := _violation(json.dumps(thing)):
            yield f"{thing.get('kind')} {thing.get('metadata', {}).get('name')}: {violation}"


@functools.cache  # most objects are in many builds
def _violation(text: str) -> str | None:
    thing = json.loads(text)
    schema = custom_schema(thing.get("apiVersion", ""), thing.get("kind", ""))
    try:
        if schema:
            jsonschema.validate(thing, schema)
        else:
            kubernetes_validate.validate(thing, VERSION, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        return f"no schema for {thing.get('apiVersion')}; write one in scripts/validate/schemas"
    except jsonschema.ValidationError as error:
        return f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
    return None


@functools.cache
def custom_schema(api_version: str, kind: str) -> dict[str, Any] | None:
    """Return our schema of a custom resource, or None."""
    path = FOLDER / f"{kind}.{api_version.replace('/', '.')}.yaml"
    if not path.exists():
        return None
    return {
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": False,
        "properties": {
            "apiVersion": {"const": api_version},
            "kind": {"const": kind},
            "metadata": METADATA,
            "spec": yaml.safe_load(path.read_text()),
        },
    }

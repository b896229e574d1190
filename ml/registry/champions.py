"""Remember who was champion: MLflow keeps an alias, but not its history."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

# A tag of the model version for each promotion: the time is in its key, so that a version may be champion twice.
PROMOTED = "champion_from."
TIME = "%Y-%m-%d %H.%M.%S.%f"  # MLflow's keys have no colons
BY_HAND = "made champion without the gate"
MAX_TAG = 500  # characters that every store of MLflow takes


@dataclass(frozen=True)
class Reign:
    """A time for which a version was champion; ``until`` is None for the present champion."""

    number: str
    version: str
    since: datetime
    until: datetime | None
    verdict: str


def record(client: MlflowClient, name: str, number: str, verdict: str = BY_HAND) -> None:
    """Store that a registered version becomes champion now, and why."""
    now = datetime.now(UTC)
    client.set_model_version_tag(name, number, f"{PROMOTED}{now:{TIME}}", verdict[:MAX_TAG])


def history(versions: Sequence[ModelVersion]) -> Iterator[Reign]:
    """List the champions of one registered model, the first one first."""
    found = [
        (datetime.strptime(key.removeprefix(PROMOTED), TIME).replace(tzinfo=UTC), str(verdict), version)
        for version in versions
        for key, verdict in version.tags.items()
        if key.startswith(PROMOTED)
    ]
    found.sort(key=lambda promotion: promotion[0])
    ends = [*(since for since, _, _ in found[1:]), None]
    for (since, verdict, version), until in zip(found, ends, strict=True):
        yield Reign(str(version.version), version.tags.get("bundle_version", ""), since, until, verdict)

"""The result of one check, and the rules for its texts and metric names."""

import hashlib
import os
import re
import unicodedata
import uuid

from pydantic import BaseModel, ConfigDict, Field

RECALL_PREFIX = "post_deploy_recall_"
MAX_METRIC_LENGTH = 250  # of MLflow


class Result(BaseModel):
    """The result of one check. MLflow stores each ``result_id`` once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    result_id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    started: int = Field(description="milliseconds since 1970, UTC")
    ended: int = Field(description="milliseconds since 1970, UTC")
    healthy: bool
    predict_url: str
    model_name: str | None = Field(description="from the service's answers; None if there was none")
    model_version: str | None
    metrics: dict[str, float]
    classes: dict[str, str] = Field(default={}, description="classes whose recall has a changed name, by it")
    problems: list[str] = Field(description="one sentence per problem")


def class_name(label: str) -> str:
    """Return a label as training names the class: file systems differ in case and in how they compose accents."""
    return unicodedata.normalize("NFC", label).strip().lower()


def recall_metric(label: str) -> str:
    """Return the metric name for the recall of a class.

    MLflow allows few characters. A name that has to change gets a hash, so that two classes never share a metric.
    """
    safe = re.sub(r"[^\w.\- ]", "_", label)
    if safe == label and len(RECALL_PREFIX + label) <= MAX_METRIC_LENGTH:
        return RECALL_PREFIX + label
    suffix = "-" + hashlib.sha256(os.fsencode(label)).hexdigest()[:8]
    return (RECALL_PREFIX + safe)[: MAX_METRIC_LENGTH - len(suffix)] + suffix


def printable(text: str) -> str:
    """Replace line breaks, control characters and undecodable bytes of file names with question marks."""
    return "".join(character if character.isprintable() else "?" for character in text)

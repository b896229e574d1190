"""Fit names and values to what MLflow accepts."""

import hashlib
import re

MAX_METRIC_NAME = 250
MAX_PARAMETER = 500  # of older and hosted servers


def metric_name(name: str) -> str:
    """Return a name that MLflow allows. A name that has to change gets a hash, so that two never become one."""
    allowed = re.sub(r"[^\w.\- :/]", "_", name)
    if allowed == name and len(name) <= MAX_METRIC_NAME:
        return name
    suffix = f"-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:8]}"
    return allowed[: MAX_METRIC_NAME - len(suffix)] + suffix


def shortened(text: str) -> str:
    """Cut a parameter's value to the length that every server takes."""
    return text if len(text) <= MAX_PARAMETER else f"{text[: MAX_PARAMETER - 1]}…"

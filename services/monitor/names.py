"""Names of files and classes, which may be any bytes, as texts and metrics may have them."""

import hashlib
import os
import re

LONGEST_METRIC = 250  # in MLflow
RECALL = "post_deploy_recall_"


def printable(text: str) -> str:
    """Give text without what is no text: a file's name may hold line breaks, and bytes that are not UTF-8."""
    return "".join(character if character.isprintable() else "?" for character in text)


def masked(address: str) -> str:
    """Give an address without the name and password in it, for a log."""
    return re.sub(r"[^/]*@", "***@", address)


def recall(label: str) -> str:
    """Name the metric of a class's recall; a name that MLflow would refuse gets a mark, so that two stay two."""
    safe = re.sub(r"[^\w.\- ]", "_", label)
    if safe == label and len(RECALL + label) <= LONGEST_METRIC:
        return RECALL + label
    mark = "-" + hashlib.sha256(os.fsencode(label)).hexdigest()[:8]
    return (RECALL + safe)[: LONGEST_METRIC - len(mark)] + mark

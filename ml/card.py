"""The model card: what a person asks about a model, written from its manifest."""

from dataclasses import asdict

from ml.recipe import Recipe
from services.inference.bundle import Manifest

CARD_FILE = "MODEL_CARD.md"


def render(manifest: Manifest) -> str:
    """Write the manifest of an evaluated bundle out as Markdown."""
    metrics, dataset, training, parity = manifest.metrics, manifest.dataset, manifest.training, manifest.parity
    assert metrics is not None and parity is not None, "only a compared and evaluated bundle has a card"
    low, high = metrics.accuracy_ci95
    recall = "\n".join(f"| recall of {name} | {value:.2%} |" for name, value in metrics.recall.items())
    counts = "\n".join(
        f"| {split} | {' | '.join(f'{by_class[name]:,}' for name in manifest.classes)} |"
        for split, by_class in dataset.counts.items()
    )
    left_out = ", ".join(f"{number:,} {reason}" for reason, number in dataset.left_out.items()) or "none"
    kind = "drawn by this project, not photographs: **not for real use**" if dataset.synthetic else "photographs"
    source = f", from {dataset.source}" if dataset.source else ""
    return f"""# {manifest.name} {manifest.version}

Tells {", ".join(manifest.classes[:-1])} from {manifest.classes[-1]} on pictures of {manifest.input.size} ×
{manifest.input.size} pixels (resize rule: {manifest.input.resize}). Written from `manifest.json`.

## Measured

On {metrics.pictures:,} held-out pictures that the training never saw, with the service's own decoding and this very
`model.onnx`:

| what | value |
| --- | --- |
| accuracy | {metrics.accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}) |
{recall}
| log loss | {metrics.log_loss:.4f} |
| expected calibration error | {metrics.expected_calibration_error:.2%} |

The exported graph differs from PyTorch by at most {parity.max_probability_difference:.1g} in a probability
({parity.pictures} pictures).

## Trained

`{training.architecture}`, initial weights: {training.initial_weights}, {training.epochs} epochs, seed {training.seed},
on {manifest.created[:10]}.

{_again(manifest)}Data: {dataset.name} ({kind}){source}. Split by the hash of each picture's
content:

| split | {" | ".join(manifest.classes)} |
| --- |{" --- |" * len(manifest.classes)}
{counts}

Left out: {left_out}. Fingerprint `{dataset.fingerprint[:16]}…`.

## Limits

It always answers one of its classes, also for a picture of something else: a high confidence is no proof that the
picture shows one of them.
"""


def _again(manifest: Manifest) -> str:
    """How to train it again; empty where the settings are not known."""
    defaults = asdict(Recipe())
    changed = {k: v for k, v in manifest.training.recipe.items() if v != defaults.get(k, v)}
    if not changed:
        return ""
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in changed.items())
    excluding = " --exclude <the list>" if "excluded" in manifest.dataset.left_out else ""
    return f"""```sh
make train DATA=<the pictures> ARGS="{flags}{excluding}"
```

"""

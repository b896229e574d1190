"""The model card: what a person asks about a model, written from its manifest."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from bundle.manifest import Acceptance, Manifest, Metrics
from ml.training.config import PRECISION, TrainingConfig

CARD_FILE = "MODEL_CARD.md"
# A list of more patterns than this is not printed; the manifest has it whole.
PRINTED_LINES = 80


def render(manifest: Manifest) -> str:
    """Write the manifest of an evaluated bundle out as Markdown."""
    assert manifest.metrics is not None and manifest.parity is not None, (
        "only a compared and evaluated bundle has a card"
    )
    parts = [_head(manifest), _measured(manifest, manifest.metrics)]
    if manifest.acceptance:
        parts.append(_accepted(manifest.acceptance))
    parts += [_neither(manifest), _mistakes(manifest.metrics), _trained(manifest), _data(manifest), _limits(manifest)]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _interval(limits: tuple[float, float]) -> str:
    return f"{limits[0]:.2%} to {limits[1]:.2%}"


def _head(manifest: Manifest) -> str:
    size = f"{manifest.input.size} × {manifest.input.size} pixels (resize rule: {manifest.input.resize})"
    return f"""# {manifest.name} {manifest.version}

Tells {", ".join(manifest.classes[:-1])} from {manifest.classes[-1]} on pictures scaled to {size}. Written by
`ml.export` from `manifest.json`."""


def _measured(manifest: Manifest, metrics: Metrics) -> str:
    parity = manifest.parity
    assert parity is not None
    mirrored = " Each answer is the mean of two, for the picture and its mirror image." if manifest.mirrored else ""
    return f"""## Measured

On {metrics.pictures:,} held-out pictures that the training never saw, with the service's own decoding and this very
`model.onnx`:

{_metrics(metrics)}

{_calibration(metrics)}

The weights are stored as {manifest.precision}.{mirrored} The exported graph differs from PyTorch by at most
{parity.max_probability_difference:.1g} in a probability ({parity.pictures} pictures)."""


def _metrics(metrics: Metrics) -> str:
    rows: list[tuple[str, str, str]] = [("accuracy", f"{metrics.accuracy:.2%}", _interval(metrics.accuracy_ci95))]
    for name, recall in metrics.recall.items():
        limits = metrics.recall_ci95.get(name)
        rows.append((f"recall of {name}", f"{recall:.2%}", _interval(limits) if limits else ""))
    rows.append(("log loss", f"{metrics.log_loss:.4f}", ""))
    rows.append(("expected calibration error", f"{metrics.expected_calibration_error:.2%}", ""))
    if metrics.uncertain is not None:
        rows.append(("flagged as uncertain", f"{metrics.uncertain:.2%}", ""))
    return _table(("what", "value", "95 % interval"), rows)


def _calibration(metrics: Metrics) -> str:
    """A chart that GitHub and others draw from its text."""
    if not metrics.calibration:
        return ""
    confidences = ", ".join(f'"{b.confidence:.0%}"' for b in metrics.calibration)
    accuracies = ", ".join(f"{b.accuracy * 100:.1f}" for b in metrics.calibration)
    exact = ", ".join(f"{b.confidence * 100:.1f}" for b in metrics.calibration)
    counts = _table(
        ("confidence", "accuracy", "pictures"),
        [(f"{b.confidence:.1%}", f"{b.accuracy:.1%}", f"{b.pictures:,}") for b in metrics.calibration],
    )
    return f"""Calibration: the bars are how often answers of about one confidence are right; the line is where they
should end.

```mermaid
xychart-beta
  x-axis "mean confidence of a bin" [{confidences}]
  y-axis "accuracy, percent" 0 --> 100
  bar [{accuracies}]
  line [{exact}]
```

{counts}"""


def _accepted(acceptance: Acceptance) -> str:
    rows = [(name, f"{accuracy:.2%}") for name, accuracy in acceptance.corrupted.items()]
    return f"""## As people send them

On {acceptance.metrics.pictures:,} other photos at their own size and shape:

{_metrics(acceptance.metrics)}

The same photos, spoiled:

{_table(("what was done", "accuracy"), [("nothing", f"{acceptance.metrics.accuracy:.2%}"), *rows])}"""


def _neither(manifest: Manifest) -> str:
    limits = manifest.uncertainty
    if limits is None or not manifest.neither:
        return ""
    rows = [
        (kind, found.pictures, f"{found.uncertain:.0%}", f"{found.sure:.0%}")
        for kind, found in manifest.neither.items()
    ]
    return f"""## Neither

It always names one of its classes. `uncertain` is true where the confidence is below {limits.least_confidence:.1%}, or
the picture is unlike those it learned from (distance over {limits.greatest_distance:.3g}). Both limits were chosen on
validation pictures, of which {limits.flagged:.2%} are flagged. What that catches of pictures that show none of the
classes:

{_table(("pictures", "number", "flagged", "answered with 99 % or more"), rows)}"""


def _mistakes(metrics: Metrics) -> str:
    if not metrics.worst_mistakes:
        return ""
    rows = [
        (f"`{m.picture}`", m.label, f"{m.predicted}, {m.confidence:.1%}", ", ".join(m.traits) or "nothing unusual")
        for m in metrics.worst_mistakes
    ]
    return f"""## Worst mistakes

The held-out pictures with the surest wrong answers. Some labels are wrong themselves. The last column says what sets a
picture apart, where it is among the most extreme tenth.

{_table(("picture", "label", "answer", "the picture is"), rows)}"""


def _trained(manifest: Manifest) -> str:
    training = manifest.training
    time = f" It took {training.hours:.1f} hours on {training.machine}." if training.hours and training.machine else ""
    return f"""## Trained

`{training.architecture}`, initial weights: {training.initial_weights}, {training.epochs} epochs, seed {training.seed},
on {manifest.created[:10]}, at commit `{(training.git_commit or "unknown")[:12]}`.{time}

{_again(manifest)}"""


def _again(manifest: Manifest) -> str:
    """How to train it again; empty where the settings are not known."""
    defaults = asdict(TrainingConfig())
    changed = {k: v for k, v in manifest.training.recipe.items() if v != defaults.get(k, v)}
    if not manifest.training.recipe:
        return ""
    if manifest.precision != PRECISION:
        changed["precision"] = manifest.precision
    if manifest.input.size != manifest.training.recipe.get("size", manifest.input.size):
        changed["serve_size"] = manifest.input.size
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in changed.items())
    flags += " --mirrored" if manifest.mirrored else ""
    named = "".join(f" --exclude {name}" for name in manifest.dataset.lists)
    excluding = named or (" --exclude <the list>" if "excluded" in manifest.dataset.left_out else "")
    return f"""```sh
make train DATA=<the pictures> ARGS="{flags}{excluding}"
```"""


def _data(manifest: Manifest) -> str:
    dataset = manifest.dataset
    counts = [
        (split, *(f"{by_class[name]:,}" for name in manifest.classes)) for split, by_class in dataset.counts.items()
    ]
    left_out = ", ".join(f"{number:,} {reason}" for reason, number in dataset.left_out.items()) or "none"
    kind = "drawn by this project, not photographs: **not for real use**" if dataset.synthetic else "photographs"
    source = f", from {dataset.source}" if dataset.source else ""
    return f"""## Data

{dataset.name} ({kind}){source}. Split by the hash of each picture's content:

{_table(("split", *manifest.classes), counts)}

Left out: {left_out}. Fingerprint `{dataset.fingerprint[:16]}…`.

{"".join(_list(name, text) for name, text in dataset.lists.items())}"""


def _list(name: str, text: str) -> str:
    lines = text.strip().splitlines()
    more = f"\n… and {len(lines) - PRINTED_LINES:,} more lines" if len(lines) > PRINTED_LINES else ""
    shown = "\n".join(lines[:PRINTED_LINES])
    return f"`{name}` kept out:\n\n```text\n{shown}{more}\n```\n\n"


def _limits(manifest: Manifest) -> str:
    flag = (
        "The flag for uncertain answers catches some such pictures, not all: see above."
        if manifest.uncertainty
        else "A high confidence is no proof that the picture shows one of them."
    )
    return f"""## Limits

It always answers one of its classes, also for a picture of something else. {flag} With both in one picture it names the
one that it sees more of. It knows pictures of the kind it learned from; drawings and toys are not among them."""

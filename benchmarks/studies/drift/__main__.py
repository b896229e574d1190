"""Write the tables of docs/drift.md: ``python -m benchmarks.studies.drift``."""

import argparse
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.report import table
from benchmarks.servers.process import ROOT, stop_on_signals
from benchmarks.studies.drift.kinds import CLEAN, Pool, pools
from benchmarks.studies.drift.monitoring import watch
from benchmarks.studies.drift.windows import SIZES, WINDOWS, Windows
from bundle.load import CHAMPION, load
from bundle.signals import SIGNALS
from ml.data import exclude
from ml.data.scan import collect
from ml.drift.rules import Comparison, Window

PAGE = ROOT / "docs/drift.md"
PART = 0.25
CLEAN_SIZES = (50, 200, 1000)
SENT = 3  # windows
MAX_GAP = 0.005  # other batches round otherwise, and may move an image beside a bin's edge
ALERTS = {"uncertain answers": "UncertainAnswersHigh", "estimated accuracy": "EstimatedAccuracyLow"}
RULES = (*SIGNALS, "uncertain answers", "estimated accuracy")


def main() -> None:
    """Measure how many images the drift rules take to notice a change, and how often they are wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.drift", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="images of the classes, which training split")
    exclude.add_argument(parser)
    parser.add_argument("--people", type=Path, required=True, metavar="FOLDER", help="photos of people")
    parser.add_argument("--changed", type=int, default=800, metavar="N", help="images of each change [%(default)s]")
    parser.add_argument("--cache", type=Path, default=Path(".state/drift"), help="answers of the images [%(default)s]")
    options = parser.parse_args()
    stop_on_signals()
    bundle = load(ROOT / CHAMPION)
    comparison = Comparison(bundle.manifest)
    images = collect(options.data, options.exclude).split("validation")
    found = pools(bundle, images, options.people, options.changed, options.cache)
    windows = Windows(comparison, found)
    replace("power", power(windows, found, comparison))
    replace("false alarms", false_alarms(windows, found, comparison))


def power(windows: Windows, found: Mapping[str, Pool], comparison: Comparison) -> str:
    """Return the table of the images that each change takes to be noticed."""
    rows = []
    for kind in [kind for kind in found if kind != CLEAN]:
        pool = found[kind]
        noticed = {share: windows.smallest(kind, share) for share in (1, PART)}
        size, rules = noticed[1] or (SIZES[-1], [])
        alerting = sum(bool(send(pool, size, seed, comparison)) for seed in range(SENT))
        rows.append(
            [
                kind,
                *(f"{smallest[0]:,}" if smallest else f"over {SIZES[-1]:,}" for smallest in noticed.values()),
                ", ".join(rules).replace("_", " "),
                f"{alerting} of {SENT}",
                f"{pool.accuracy:.1%}" if (pool.labels >= 0).all() else "none",
                f"{pool.answers.probabilities.max(1).mean():.1%}",
            ]
        )
        print(rows[-1], flush=True)
    columns = ("the images are", "all", "a quarter", "noticed by", "sent: windows that alert", "accuracy", "estimated")
    return table(columns, rows)


def false_alarms(windows: Windows, found: Mapping[str, Pool], comparison: Comparison) -> str:
    """Return the table of alerts in clean windows."""
    rows = []
    for size in CLEAN_SIZES:
        counts = windows.alerts(CLEAN, size)
        alerting = sum(bool(send(found[CLEAN], size, seed, comparison)) for seed in range(SENT))
        total = f"{counts['any']} ({counts['any'] / WINDOWS:.1%})"
        rows.append([f"{size:,}", *(counts[rule] for rule in RULES), total, f"{alerting} of {SENT}"])
        print(rows[-1], flush=True)
    names = [rule.replace("_", " ") for rule in RULES]
    return table(("images", *names, "any", "sent: windows that alert"), rows)


def send(pool: Pool, size: int, seed: int, comparison: Comparison) -> set[str]:
    """Send one window to the real service, and return its alerts by a real Prometheus.

    Raises:
        SystemExit: Prometheus and ``ml.drift`` disagree.
    """
    chosen = np.random.default_rng([size, seed]).integers(len(pool.files), size=size)
    with tempfile.TemporaryDirectory() as folder:
        seen = watch([pool.files[i] for i in chosen.tolist()], Path(folder))
    answers = pool.answers
    assert answers.uncertain is not None, "the bundle has limits"
    places = comparison.places(answers.signals[chosen])
    window = comparison.window(places, answers.probabilities[chosen].max(1), answers.uncertain[chosen])
    assert window.uncertain is not None, "as above"
    ratio = seen.images / size
    findings = comparison.check(
        Window(seen.images, window.uncertain * ratio, window.expected_correct * ratio, window.cumulative)
    )
    alerts = {ALERTS.get(finding.rule, finding.rule) for finding in findings if finding.drifted}
    gap = max(abs(one.value - seen.distances[one.rule]) for one in findings if one.rule in SIGNALS)
    print(f"{size:,} images, {seen.images:.1f} by Prometheus: {sorted(seen.alerts)}; gap {gap:.4f}", flush=True)
    if seen.alerts != alerts or gap > MAX_GAP:
        raise SystemExit(f"Prometheus alerts of {seen.alerts}, ml.drift of {alerts}; the distances differ by {gap}.")
    return seen.alerts


def replace(name: str, text: str) -> None:
    """Replace the part of the page between two comments."""
    page = PAGE.read_text(encoding="utf-8")
    marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    PAGE.write_text(marked.sub(lambda match: f"{match[1]}\n{text}\n\n{match[2]}", page), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Draw windows of images from pools, and count those in which a rule alerts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.drift.kinds import CLEAN, Pool
from ml.drift.rules import Comparison

WINDOWS = 1000
SIZES = (5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 1500, 2000, 3000)
NOTICED = 0.95


@dataclass(frozen=True)
class _Sample:
    places: NDArray[np.int64]
    confidences: NDArray[np.float32]
    uncertain: NDArray[np.bool_]


class Windows:
    """Draws windows, with replacement, from pools of answered images."""

    def __init__(self, comparison: Comparison, pools: Mapping[str, Pool], windows: int = WINDOWS) -> None:
        """Place the signals of all pools among the reference's."""
        self._comparison, self._windows = comparison, windows
        self._samples: dict[str, _Sample] = {}
        for kind, pool in pools.items():
            answers = pool.answers
            assert answers.uncertain is not None, "the bundle has limits"
            places = comparison.places(answers.signals)
            self._samples[kind] = _Sample(places, answers.probabilities.max(1), answers.uncertain)

    def alerts(self, kind: str, size: int, share: float = 1.0) -> Counter[str]:
        """Count the windows in which each rule alerts, and under ``any`` those in which one does.

        Args:
            kind: The changed kind.
            size: Images of a window.
            share: Expected share of changed images; the others are clean.
        """
        random = np.random.default_rng([size, round(1000 * share)])
        found: Counter[str] = Counter()
        changed, clean = self._samples[kind], self._samples[CLEAN]
        for _ in range(self._windows):
            number = random.binomial(size, share)
            parts = [
                (sample, random.integers(len(sample.places), size=count))
                for sample, count in ((changed, number), (clean, size - number))
            ]
            window = self._comparison.window(
                np.concatenate([sample.places[chosen] for sample, chosen in parts]),
                np.concatenate([sample.confidences[chosen] for sample, chosen in parts]),
                np.concatenate([sample.uncertain[chosen] for sample, chosen in parts]),
            )
            alerting = [finding.rule for finding in self._comparison.check(window) if finding.drifted]
            found.update(alerting)
            found["any"] += bool(alerting)
        return found

    def smallest(self, kind: str, share: float, sizes: Sequence[int] = SIZES) -> tuple[int, list[str]] | None:
        """Return the least size at which ``NOTICED`` of the windows alert, and the rules of at least half of them."""
        for size in sizes:
            found = self.alerts(kind, size, share)
            if found.pop("any") >= NOTICED * self._windows:
                return size, [rule for rule, count in found.most_common() if count >= self._windows / 2]
        return None

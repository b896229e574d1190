"""The gate: decide whether a challenger is no worse than the champion on the same test images."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from bundle.load import Bundle
from ml.data.dataset import Dataset
from ml.errors import UserError
from ml.evaluation.evaluation import Evaluation, evaluate
from ml.evaluation.robustness import CORRUPTIONS

SIGNIFICANCE = 0.05
# Dark and blurred images are this share of the test images.
UNUSUAL = 0.2
# Copies of the test images that are also compared, and the most images of each kind.
COPIES = {"tight crops": "tight crop, 2/3 of each side", "small subjects": "loose crop, 2/3 of each side"}
MAX_COPIES = 500


class GateError(UserError):
    """Raised when two bundles cannot be compared."""


@dataclass(frozen=True)
class Comparison:
    """Answers of challenger and champion for the same images; accuracies are from 0 to 1.

    Attributes:
        only_challenger_right: Number of images that only the challenger classifies correctly.
        only_champion_right: Number of images that only the champion classifies correctly.
        p_worse: One-sided p-value of the exact McNemar test for the challenger being worse.
    """

    images: int
    challenger_accuracy: float
    champion_accuracy: float
    only_challenger_right: int
    only_champion_right: int
    p_worse: float


@dataclass(frozen=True)
class Verdict:
    """The gate's decision, and the comparisons behind it.

    Attributes:
        champion: The comparison on all test images; None without a champion.
        slices: Comparisons on classes and on unusual images, by name.
    """

    promoted: bool
    reason: str
    images: int
    challenger_accuracy: float
    champion: Comparison | None = None
    slices: dict[str, Comparison] | None = None

    def summary(self) -> str:
        """Describe the verdict in one line."""
        accuracy = f"{self.challenger_accuracy:.2%}"
        if self.champion:
            accuracy += f" against {self.champion.champion_accuracy:.2%} (p {self.champion.p_worse:.3f})"
        return f"{accuracy} of {self.images:,} held-out images. {self.reason}"

    def table(self) -> str:
        """Format the numbers as a table."""
        rows = [("held-out images", f"{self.images:,}"), ("challenger", f"{self.challenger_accuracy:.2%}")]
        if self.champion:
            rows += [
                ("champion", f"{self.champion.champion_accuracy:.2%}"),
                ("only the challenger right", f"{self.champion.only_challenger_right:,}"),
                ("only the champion right", f"{self.champion.only_champion_right:,}"),
                ("p (challenger is worse)", f"{self.champion.p_worse:.3f}"),
            ]
        for name, one in (self.slices or {}).items():
            accuracies = f"{one.challenger_accuracy:.1%}, champion {one.champion_accuracy:.1%}"
            rows.append((f"  {name} ({one.images:,})", f"{accuracies}, p {one.p_worse:.3f}"))
        rows.append(("verdict", "promoted" if self.promoted else "refused"))
        width = max(26, *(len(name) for name, _ in rows))
        return "\n".join(f"  {name:<{width}} {value}" for name, value in rows) + f"\n  {self.reason}"


def gate(challenger: Bundle, champion: Bundle | None, data: Dataset, progress: bool = True) -> Verdict:
    """Decide whether a challenger is no worse than the champion on the same test images.

    A challenger is refused if the exact McNemar test (McNemar 1947; one-sided) finds it worse on all test images, or on
    a class or slice: dark, blurred, tightly cropped or small subjects. An equally good challenger is refused in at most
    5 % of cases: half of that is for all images, half is shared among the slices (Holm 1979). Without a champion it
    must beat the most common class.

    Raises:
        GateError: There are no test images, or the classes differ.
    """
    images = data.split("test")
    classes = list(data.classes)
    for role, bundle in (("challenger", challenger), ("champion", champion)):
        if bundle and bundle.manifest.classes != classes:
            raise GateError(
                f"The {role} has the classes {', '.join(bundle.manifest.classes)}, but the data has "
                f"{', '.join(classes)}: they cannot be compared. Give the data set another name in its dataset.json."
            )
    if not images:
        raise GateError(f"{data.name} has no held-out images: the gate cannot measure anything.")
    ours = evaluate(challenger, images, progress)
    accuracy = float(ours.correct.mean())
    if champion is None:
        return _first(ours, challenger, data)
    theirs = evaluate(champion, images, progress)
    whole = compare(ours.correct, theirs.correct)
    slices = dict(_slices(ours, theirs))
    sample = images[:: -(-len(images) // MAX_COPIES)]
    for name, corruption in COPIES.items():
        both = (
            evaluate(bundle, sample, progress, CORRUPTIONS[corruption]).correct for bundle in (challenger, champion)
        )
        slices[name] = compare(*both)
    lost = significant({name: one.p_worse for name, one in slices.items()}, SIGNIFICANCE / 2)
    promoted = whole.p_worse >= SIGNIFICANCE / 2 and not lost
    if whole.p_worse < SIGNIFICANCE / 2:
        reason = f"The challenger is worse than the champion (p = {whole.p_worse:.3f} < {SIGNIFICANCE / 2})."
    elif lost:
        reason = f"The challenger is worse than the champion on {' and '.join(lost)}, though not on all images."
    else:
        reason = "The challenger is no worse than the champion."
        if (loss := smallest_certain_loss(len(images))) > 0.01:
            reason += f" With {len(images)} test images, a loss below {loss:.0%} would go unnoticed."
    return Verdict(promoted, reason, len(images), accuracy, whole, slices)


def compare(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> Comparison:
    """Compare the correctness of challenger and champion, each of shape ``(n,)``, by the exact McNemar test."""
    wins, losses = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    p_worse = float(binomtest(losses, wins + losses, 0.5, alternative="greater").pvalue) if wins + losses else 1.0
    return Comparison(len(ours), float(ours.mean()), float(theirs.mean()), wins, losses, p_worse)


def significant(p_values: dict[str, float], level: float) -> list[str]:
    """Name the tests that are significant after the correction of Holm 1979 for their number."""
    found = []
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        if p >= level / (len(p_values) - rank):
            break
        found.append(name)
    return found


def smallest_certain_loss(images: int) -> float:
    """Return the share of test images that a challenger must lose, and win none, to be found worse."""
    return math.ceil(-math.log2(SIGNIFICANCE / 2)) / images


def _first(ours: Evaluation, challenger: Bundle, data: Dataset) -> Verdict:
    """Decide about a challenger without a champion: it must beat the most common class.

    Of few images, the answers of the cross-validation count, too: each is of a head that was trained without the image.
    """
    images, hits, labels = len(ours.labels), int(ours.correct.sum()), ours.labels
    accuracy, tested = hits / images, images
    estimate = challenger.manifest.cross_validation
    if estimate and challenger.manifest.dataset.fingerprint == data.fingerprint:
        images += estimate.pictures
        hits += round(estimate.accuracy * estimate.pictures)
        labels = np.array([image.label for image in data.images])
    most_common = int(np.bincount(labels).max()) / len(labels)
    p_chance = binomtest(hits, images, most_common, alternative="greater").pvalue
    promoted = bool(p_chance < SIGNIFICANCE)
    comparison = "better" if promoted else "not shown to be better"
    reason = (
        f"There is no champion of these classes yet, and the challenger is {comparison} than the most common class."
    )
    if images > tested:
        reason += f" {images - tested} cross-validated answers count with the test images."
    if not promoted and hits / images >= 0.5 and most_common < 1:
        needed = math.floor(math.log(SIGNIFICANCE) / math.log(most_common)) + 1
        if needed > images:
            reason += f" {needed} images, all classified correctly, would do; this set has {images}."
    return Verdict(promoted, reason, tested, accuracy)


def _slices(ours: Evaluation, theirs: Evaluation) -> Iterator[tuple[str, Comparison]]:
    """Compare classes, and the darkest and most blurred test images."""
    for label, name in enumerate(ours.classes):
        chosen = ours.labels == label
        if chosen.any():
            yield f"class {name}", compare(ours.correct[chosen], theirs.correct[chosen])
    for name, statistic in (("dark images", "brightness"), ("blurred images", "sharpness")):
        values = theirs.statistics[statistic]
        chosen = values <= np.quantile(values, UNUSUAL)
        yield name, compare(ours.correct[chosen], theirs.correct[chosen])

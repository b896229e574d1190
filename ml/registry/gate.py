"""The gate: decide whether a challenger is no worse than the champion on the same test images."""

from dataclasses import dataclass

from scipy.stats import binomtest

from bundle.load import Bundle
from ml.data.dataset import Dataset
from ml.errors import UserError
from ml.evaluation.evaluation import evaluate

SIGNIFICANCE = 0.05
MARGIN = 0.01


class GateError(UserError):
    """Raised when two bundles cannot be compared."""


@dataclass(frozen=True)
class Verdict:
    """The gate's decision, and the numbers of test images and accuracies (from 0 to 1) behind it.

    ``p_worse`` is the one-sided p-value of the exact McNemar test for the challenger being worse.
    """

    promoted: bool
    reason: str
    images: int
    challenger_accuracy: float
    champion_accuracy: float | None = None
    only_challenger_right: int = 0
    only_champion_right: int = 0
    p_worse: float | None = None

    def table(self) -> str:
        """Format the numbers as a table."""
        rows = [("held-out images", f"{self.images:,}"), ("challenger", f"{self.challenger_accuracy:.2%}")]
        if self.champion_accuracy is not None:
            rows += [
                ("champion", f"{self.champion_accuracy:.2%}"),
                ("only the challenger right", f"{self.only_challenger_right:,}"),
                ("only the champion right", f"{self.only_champion_right:,}"),
                ("p (challenger is worse)", f"{self.p_worse:.3f}"),
            ]
        rows.append(("verdict", "promoted" if self.promoted else "refused"))
        return "\n".join(f"  {name:<26} {value}" for name, value in rows) + f"\n  {self.reason}"


def gate(challenger: Bundle, champion: Bundle | None, data: Dataset, progress: bool = True) -> Verdict:
    """Decide whether a challenger is no worse than the champion on the same test images.

    A challenger is refused if the exact McNemar test (McNemar 1947; one-sided, 5 %) finds it worse, or if its accuracy
    is more than one percentage point lower, which a small test set could not prove. Without a champion it must
    beat the most common class.

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
    ours = evaluate(challenger, images, progress).correct
    accuracy = float(ours.mean())
    if champion is None:
        most_common = max(sum(image.label == i for image in images) for i in range(len(classes)))
        p_chance = binomtest(int(ours.sum()), len(images), most_common / len(images), alternative="greater").pvalue
        promoted = bool(p_chance < SIGNIFICANCE)
        comparison = "better" if promoted else "not shown to be better"
        reason = f"There is no champion yet, and the challenger is {comparison} than the most common class."
        return Verdict(promoted, reason, len(images), accuracy)
    theirs = evaluate(champion, images, progress).correct
    wins, losses = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    p_worse = float(binomtest(losses, wins + losses, 0.5, alternative="greater").pvalue) if wins + losses else 1.0
    drop = (losses - wins) / len(images)
    promoted = False
    if p_worse < SIGNIFICANCE:
        reason = f"The challenger is worse than the champion (p = {p_worse:.3f} < {SIGNIFICANCE})."
    elif drop > MARGIN:
        reason = f"The challenger's accuracy is {drop:.2%} lower, more than the {MARGIN:.0%} allowed for chance."
    else:
        promoted = True
        reason = "The challenger is no worse than the champion."
    return Verdict(promoted, reason, len(images), accuracy, float(theirs.mean()), wins, losses, p_worse)

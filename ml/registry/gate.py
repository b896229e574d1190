"""The gate: is a challenger no worse than the champion on the same held-out pictures?"""

from dataclasses import dataclass

from scipy.stats import binomtest

from bundle.load import Bundle
from ml.data.dataset import Dataset
from ml.errors import UserError
from ml.evaluation.metrics import evaluate

SIGNIFICANCE = 0.05
MARGIN = 0.01


class GateError(UserError):
    """Nothing can be compared; the message is one sentence that says why."""


@dataclass(frozen=True)
class Verdict:
    """What the gate decided, and on which numbers.

    Attributes:
        promoted: Whether the challenger may become champion.
        reason: One sentence.
        pictures: Held-out pictures that both were asked about.
        challenger_accuracy: From 0 to 1.
        champion_accuracy: From 0 to 1; None where there was no champion.
        only_challenger_right: Pictures that only the challenger got right.
        only_champion_right: Pictures that only the champion got right.
        p_worse: One-sided p-value of the exact McNemar test for the challenger being worse.
    """

    promoted: bool
    reason: str
    pictures: int
    challenger_accuracy: float
    champion_accuracy: float | None = None
    only_challenger_right: int = 0
    only_champion_right: int = 0
    p_worse: float | None = None

    def table(self) -> str:
        """Lay the numbers out for a person."""
        rows = [("held-out pictures", f"{self.pictures:,}"), ("challenger", f"{self.challenger_accuracy:.2%}")]
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
    """Decide whether a challenger is no worse than the champion on the same held-out pictures.

    Refused is a challenger that the exact McNemar test (McNemar 1947; one-sided, 5 %) finds worse, or whose accuracy
    is more than one percentage point lower, which a small test set could not prove. Without a champion it must
    beat always answering the commonest class.

    Raises:
        GateError: There are no held-out pictures, or the classes differ.
    """
    pictures = data.split("test")
    classes = list(data.classes)
    for role, bundle in (("challenger", challenger), ("champion", champion)):
        if bundle and bundle.manifest.classes != classes:
            known = ", ".join(bundle.manifest.classes)
            raise GateError(
                f"The {role} knows {known}, but the data has {', '.join(classes)}: they cannot be compared. "
                "Other classes want another name for the data set, in its dataset.json."
            )
    if not pictures:
        raise GateError(f"{data.name} has no held-out pictures: the gate cannot measure anything.")
    ours = evaluate(challenger, pictures, progress).correct
    accuracy = float(ours.mean())
    if champion is None:
        commonest = max(sum(p.label == i for p in pictures) for i in range(len(classes)))
        chance = binomtest(int(ours.sum()), len(pictures), commonest / len(pictures), alternative="greater").pvalue
        promoted = bool(chance < SIGNIFICANCE)
        comparison = "better" if promoted else "not shown to be better"
        reason = f"There is no champion yet, and it is {comparison} than always answering the commonest class."
        return Verdict(promoted, reason, len(pictures), accuracy)
    theirs = evaluate(champion, pictures, progress).correct
    wins, losses = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    p_worse = float(binomtest(losses, wins + losses, 0.5, alternative="greater").pvalue) if wins + losses else 1.0
    drop = (losses - wins) / len(pictures)
    if p_worse < SIGNIFICANCE:
        reason = f"The challenger is worse than the champion (p = {p_worse:.3f} < {SIGNIFICANCE})."
    elif drop > MARGIN:
        reason = (
            f"The challenger's accuracy is {drop:.2%} lower, more than the {MARGIN:.0%} that is let pass as chance."
        )
    else:
        reason = "The challenger is no worse than the champion."
    promoted = p_worse >= SIGNIFICANCE and drop <= MARGIN
    return Verdict(promoted, reason, len(pictures), accuracy, float(theirs.mean()), wins, losses, p_worse)

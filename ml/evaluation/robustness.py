"""How a bundle fares on photos as people send them, whole and spoiled."""

from collections.abc import Sequence

from bundle.load import Bundle
from bundle.manifest import Acceptance
from ml.data.dataset import LabelledImage
from ml.evaluation.corruptions import CORRUPTIONS
from ml.evaluation.metrics import evaluate, metrics


def measure(bundle: Bundle, photos: Sequence[LabelledImage]) -> Acceptance:
    """Ask a bundle about photos as they are, and as each of ``ml.evaluation.corruptions`` makes them.

    Args:
        bundle: The bundle to measure.
        photos: At least one, of none that it was trained on; their labels are indices into the bundle's classes.
    """
    corrupted = {
        name: float(evaluate(bundle, photos, progress=False, spoil=spoil).correct.mean())
        for name, spoil in CORRUPTIONS.items()
    }
    return Acceptance(metrics=metrics(evaluate(bundle, photos, progress=False)), corrupted=corrupted)

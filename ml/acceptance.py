"""How a bundle fares on photos as people send them, whole and spoiled."""

from collections.abc import Sequence

from ml.corruptions import CORRUPTIONS
from ml.data import Picture
from ml.evaluate import evaluate, metrics
from services.inference.bundle import Acceptance, Bundle


def measure(bundle: Bundle, photos: Sequence[Picture]) -> Acceptance:
    """Ask a bundle about photos as they are, and as each of ``ml.corruptions`` makes them.

    Args:
        bundle: The bundle to measure.
        photos: At least one, of none that it was trained on; their labels are indices into the bundle's classes.
    """
    corrupted = {
        name: float(evaluate(bundle, photos, progress=False, spoil=spoil).correct.mean())
        for name, spoil in CORRUPTIONS.items()
    }
    return Acceptance(metrics=metrics(evaluate(bundle, photos, progress=False)), corrupted=corrupted)

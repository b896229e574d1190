"""The model that a worker serves, or the reason why it serves none."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.inference import bundle
from services.inference.predictor import Predictor
from services.inference.problems import NO_MODEL, Problem

RETRY_AFTER = 30  # seconds; a model comes back with a new deployment, not in a moment

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """What was found in the model folder: a predictor, or else why not."""

    predictor: Predictor | None
    reason: str = ""

    def require(self) -> Predictor:
        """Give the predictor.

        Raises:
            Problem: There is none; 503 with the reason.
        """
        if self.predictor is None:
            raise Problem(NO_MODEL, self.reason, retry_after=RETRY_AFTER)
        return self.predictor


def load(folder: Path) -> Model:
    """Load the bundle in ``folder``; never raises, so that a service without a model can say what it lacks."""
    try:
        predictor = Predictor(bundle.load(folder))
        _try_out(predictor)
    except bundle.BundleError as error:
        log.error("no model: %s", error)
        return Model(None, str(error))
    except Exception as error:
        log.exception("no model: the bundle in %s cannot be loaded", folder)
        return Model(None, f"{folder}: the bundle cannot be loaded ({type(error).__name__}: {error}).")
    log.info("model loaded", extra={"model": predictor.manifest.name, "version": predictor.manifest.version})
    return Model(predictor)


def _try_out(predictor: Predictor) -> None:
    """Run the model once: the first run is slow, and a broken one shows before anyone asks."""
    size = predictor.manifest.input.size
    for batch in (1, 2):
        rows = predictor.predict(np.zeros((batch, size, size, 3), np.uint8))
        if rows.shape != (batch, len(predictor.manifest.classes)) or not np.allclose(rows.sum(axis=1), 1, atol=1e-3):
            raise bundle.BundleError(
                f"The model answers {batch} black pictures with {rows.tolist()}, not with probabilities."
            )

"""The model that a worker serves, or the reason why it serves none."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bundle.load import Bundle, BundleError
from bundle.predictor import Predictor
from services.inference import held
from services.inference.problems import NO_MODEL, Problem

RETRY_AFTER = 30  # seconds; a model comes back with a new deployment, not in a moment

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A predictor, or else why there is none; ``refused`` says why a newer bundle is not the one that is served."""

    predictor: Predictor | None
    reason: str = ""
    refused: str = ""

    def require(self) -> Predictor:
        """Give the predictor.

        Raises:
            Problem: There is none; 503 with the reason.
        """
        if self.predictor is None:
            raise Problem(NO_MODEL, self.reason, retry_after=RETRY_AFTER)
        return self.predictor


def load(folder: Path) -> Model:
    """Load the bundle that is held, else that in ``folder``; never raises, so that a service can say what it lacks."""
    found = held.get(folder)
    if found.bundle is None:
        log.error("no model: %s", found.reason)
        return Model(None, found.reason)
    try:
        predictor = build(found.bundle)
    except Exception as error:
        log.error("no model: %s", explain(error), exc_info=not isinstance(error, BundleError))
        return Model(None, explain(error))
    log.info("model loaded", extra={"model": predictor.manifest.name, "version": predictor.manifest.version})
    return Model(predictor, refused=found.refused)


def build(bundle: Bundle) -> Predictor:
    """Make a predictor, and run it once: the first run is slow, and a broken one shows before anyone asks.

    Raises:
        BundleError: It is not the graph that the manifest describes, or gives no probabilities.
        Exception: Whatever the library makes of a graph that it cannot run.
    """
    predictor = Predictor(bundle)
    size = predictor.manifest.input.size
    for batch in (1, 2):
        rows = predictor.predict(np.zeros((batch, size, size, 3), np.uint8))
        if rows.shape != (batch, len(predictor.manifest.classes)) or not np.allclose(rows.sum(axis=1), 1, atol=1e-3):
            raise BundleError(f"The model answers {batch} black pictures with {rows.tolist()}, not with probabilities.")
    return predictor


def explain(error: Exception) -> str:
    """Say in one sentence why ``build`` made no predictor."""
    if isinstance(error, BundleError):
        return str(error)
    first_line = (str(error).strip() or "no further word").splitlines()[0]
    return f"The model cannot be run ({type(error).__name__}: {first_line})."

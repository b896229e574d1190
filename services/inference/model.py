"""Load the model that a worker serves, or the reason why there is none."""

import logging
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from bundle import preprocess
from bundle.files import BundleError
from bundle.load import Bundle, load
from bundle.predictor import Predictor
from services.inference import native_logs
from services.inference.problems import NO_MODEL, Problem

CHECK_TIMEOUT = 60  # seconds
RETRY_AFTER = 30  # seconds; only a new deployment brings a model back

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A bundle and its predictor, or the reason why there is none; ``refused`` is the reason against a newer bundle."""

    bundle: Bundle | None = None
    predictor: Predictor | None = None
    reason: str = ""
    refused: str = ""

    def require(self) -> Predictor:
        """Return the predictor, or raise the problem that there is none."""
        if self.predictor is None:
            raise Problem(NO_MODEL, self.reason, retry_after=RETRY_AFTER)
        return self.predictor


# Read in gunicorn's master and inherited by its workers, so that all of them serve the same model: also a worker that
# replaces a dead one while another bundle lies in the folder.
_inherited = Model()


def preload(folder: Path, public_key: Path | None = None) -> None:
    """Read a bundle for the workers to come."""
    global _inherited
    _inherited = _read(folder, public_key)


def reload(folder: Path, public_key: Path | None = None) -> None:
    """Read a new bundle for the workers to come, unless it cannot be served."""
    global _inherited
    found, present = _read(folder, public_key), _inherited
    if present.bundle and (problem := found.reason or _check(folder)):
        log.error("the new bundle is refused, %s stays: %s", present.bundle.manifest.version, problem)
        found = replace(present, refused=problem)
    _inherited = found


def load_model(folder: Path, public_key: Path | None = None) -> Model:
    """Create the predictor of the inherited bundle, or else of the one in ``folder``; never raises."""
    model = _inherited if _inherited.bundle or _inherited.reason else _read(folder, public_key)
    if model.bundle:
        try:
            predictor = Predictor(model.bundle)
            predictor.warm_up()
            preprocess.warm_up()
            native_logs.silence_libtiff()
        except BundleError as error:
            model = Model(reason=model.refused or str(error))
        else:
            model = replace(model, predictor=predictor)
            log.info("model loaded", extra={"model": predictor.manifest.name, "version": predictor.manifest.version})
    if not model.predictor:
        log.error("no model: %s", model.reason)
    return model


def _read(folder: Path, public_key: Path | None) -> Model:
    try:
        return Model(load(folder, public_key))
    except BundleError as error:
        return Model(reason=str(error))


def _check(folder: Path) -> str:
    """Return why a bundle cannot be served, or nothing.

    In another process: workers forked from one that ran a model would hang, and a graph may crash the library.
    """
    command = [sys.executable, "-m", "bundle.check", str(folder)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return f"The model does not answer a black image within {CHECK_TIMEOUT} seconds."
    if result.returncode < 0:
        return f"The model crashes the process that runs it (signal {-result.returncode})."
    return result.stderr.strip() if result.returncode else ""

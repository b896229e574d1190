"""The bundle that gunicorn's master holds in memory for its workers.

It is read at the start, and once more with each reload (SIGHUP). A worker gets it by its fork, also one that takes the
place of a worker that died, so that all serve the same model, whatever lies in the folder by then.
"""

import logging
import multiprocessing
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

from bundle import load as bundle_folder
from bundle.load import Bundle

TRIAL_SECONDS = 60

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Held:
    """A bundle, or else the reason why there is none; ``refused`` says why a later one did not take its place."""

    bundle: Bundle | None
    reason: str = ""
    refused: str = ""


_held: Held | None = None


def get(folder: Path) -> Held:
    """Give what the master holds; what is in ``folder`` where there is no master."""
    return _held or _read(folder)


def start(folder: Path) -> None:
    """Hold what is in ``folder``."""
    global _held
    _held = _read(folder)


def renew(folder: Path) -> None:
    """Hold what is in ``folder`` now, unless it cannot be served and the present one can."""
    global _held
    before, found = get(folder), _read(folder)
    reason = _trial(found)
    if reason and not _trial(before):
        assert before.bundle is not None, "it was just served"
        manifest = before.bundle.manifest
        log.error("the new bundle is refused, %s %s stays: %s", manifest.name, manifest.version, reason)
        found = replace(before, refused=reason)
    _held = found


def _read(folder: Path) -> Held:
    try:
        return Held(bundle_folder.load(folder))
    except bundle_folder.BundleError as error:
        return Held(None, str(error))
    except Exception as error:  # a stranger's file; the service must come up to say what it lacks
        return Held(None, f"{folder}: the bundle cannot be loaded ({type(error).__name__}: {error}).")


def _trial(held: Held) -> str:
    """Say why a bundle cannot be served; nothing if it can.

    In a process of its own: workers forked from one in which a model ran would hang, and a graph that brings the
    library down must not take the master with it.
    """
    if held.bundle is None:
        return held.reason
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    process = fork.Process(target=_try_out, args=(held.bundle, sender))
    process.start()
    sender.close()
    try:
        if receiver.poll(TRIAL_SECONDS):
            return str(receiver.recv())
        return f"The model does not answer two black pictures within {TRIAL_SECONDS} seconds."
    except EOFError:
        process.join()
        return f"The model ends the process that runs it (exit code {process.exitcode})."
    finally:
        process.kill()
        process.join()
        receiver.close()


def _try_out(found: Bundle, sender: Connection) -> None:
    from services.inference import model

    try:
        model.build(found)
    except Exception as error:
        sender.send(model.explain(error))
    else:
        sender.send("")

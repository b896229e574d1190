"""A result's way to MLflow: to the disk first, then all that waits there, oldest first."""

from services.monitor.deadline import TimeUp, time_limit
from services.monitor.mlflow_client import RejectedError, Tracking, UnreachableError
from services.monitor.outbox import Spool, SpoolError
from services.monitor.result import Result
from services.monitor.settings import Settings


class LostError(Exception):
    """The result is neither in MLflow nor on the disk; the message says why."""


def deliver(result: Result, settings: Settings) -> list[str]:
    """Send a result and those that earlier runs could not send.

    Returns:
        Sentences about what is not as it should be; none if MLflow has everything.

    Raises:
        LostError: MLflow cannot be reached and the spool cannot be written.
    """
    spool = Spool(settings.spool_dir)
    try:
        spool.keep(result)
    except SpoolError as error:
        return [str(error), *_send_unkept(result, settings, error)]
    notes: list[str] = []
    try:
        with time_limit(settings.tracking_timeout), spool.lock():
            notes += [spool.set_aside(path, "half-written") for path in spool.half_written()]
            _drain(spool, settings, notes)
    except TimeUp:
        notes.append(f"MLflow did not take everything within TRACKING_TIMEOUT={settings.tracking_timeout:g} seconds.")
    except OSError as error:
        notes.append(f"SPOOL_DIR={settings.spool_dir}: {error}.")
    if waiting := len(spool.waiting()):
        notes.append(f"{waiting} result(s) wait in SPOOL_DIR={settings.spool_dir}; the next run sends them.")
    return notes


def _drain(spool: Spool, settings: Settings, notes: list[str]) -> None:
    tracking = Tracking(settings.mlflow_tracking_uri, settings.mlflow_experiment_name)
    for path in spool.waiting():
        kept = spool.read(path)
        if kept is None:
            notes.append(spool.set_aside(path, "damaged"))
            continue
        try:
            tracking.send(kept)
        except RejectedError as error:
            notes.append(f"MLflow refuses a result for good: {error} {spool.set_aside(path, 'rejected')}")
        except UnreachableError as error:
            notes.append(str(error))
            return
        else:
            path.unlink()


def _send_unkept(result: Result, settings: Settings, unkept: SpoolError) -> list[str]:
    try:
        with time_limit(settings.tracking_timeout):
            Tracking(settings.mlflow_tracking_uri, settings.mlflow_experiment_name).send(result)
    except (RejectedError, UnreachableError, TimeUp) as error:
        reason = str(error) or f"MLflow did not answer within TRACKING_TIMEOUT={settings.tracking_timeout:g} seconds."
        raise LostError(f"The result is lost but for this line: {unkept} {reason}") from error
    return []

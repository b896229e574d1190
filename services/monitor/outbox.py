"""Keep results on disk until MLflow has them: one JSON file each, sorted by time."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from services.monitor.deadline import TimeUp, time_limit
from services.monitor.mlflow_client import Experiment, RejectedError, UnreachableError
from services.monitor.result import Result
from services.monitor.settings import Settings

STALE = 3600  # seconds after which a half-written file belongs to no running check
LOCK_INTERVAL = 0.05


class OutboxError(Exception):
    """The folder is not writable; the message names it and the reason."""


class LostError(Exception):
    """The result is neither in MLflow nor on disk; the message has both reasons."""


def deliver(result: Result, settings: Settings) -> list[str]:
    """Send a result to MLflow, after the results that earlier runs could not send.

    Returns:
        One sentence per problem; none if MLflow has everything.

    Raises:
        LostError: MLflow is unreachable and the folder is not writable.
    """
    outbox = Outbox(settings.spool_dir)
    experiment = Experiment(settings.mlflow_tracking_uri, settings.mlflow_experiment_name)
    limit = f"within TRACKING_TIMEOUT={settings.tracking_timeout:g} seconds."
    try:
        outbox.keep(result)
    except OutboxError as error:
        try:
            with time_limit(settings.tracking_timeout):
                experiment.send(result)
        except (RejectedError, UnreachableError, TimeUp) as unsent:
            reason = str(unsent) or f"MLflow did not answer {limit}"
            raise LostError(f"The result is lost but for this line: {error} {reason}") from unsent
        return [str(error)]
    notes: list[str] = []
    try:
        with time_limit(settings.tracking_timeout), outbox.lock():
            notes += [outbox.set_aside(path, "half-written") for path in outbox.half_written()]
            _send_waiting(outbox, experiment, notes)
    except TimeUp:
        notes.append(f"MLflow did not take everything {limit}")
    except OSError as error:
        notes.append(f"SPOOL_DIR={settings.spool_dir}: {error}.")
    if waiting := len(outbox.waiting()):
        notes.append(f"{waiting} result(s) wait in SPOOL_DIR={settings.spool_dir}; the next run sends them.")
    return notes


def _send_waiting(outbox: "Outbox", experiment: Experiment, notes: list[str]) -> None:
    for path in outbox.waiting():
        try:
            experiment.send(Result.model_validate_json(path.read_bytes()))
        except (OSError, ValidationError):
            notes.append(outbox.set_aside(path, "damaged"))
        except RejectedError as error:
            notes.append(f"MLflow rejects a result for good: {error} {outbox.set_aside(path, 'rejected')}")
        except UnreachableError as error:
            notes.append(str(error))
            return
        else:
            path.unlink()


class Outbox:
    """A folder of results that are not in MLflow yet; created with the first one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, result: Result) -> None:
        """Write a result atomically: after a power failure the file is complete or absent.

        Raises:
            OutboxError: The folder or the file is not writable.
        """
        path = self.folder / f"{result.ended:015d}-{result.result_id}.json"
        temporary = path.with_suffix(".tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("w") as file:
                # Without defaults, so that an older monitor can read it after a roll-back.
                file.write(result.model_dump_json(exclude_defaults=True))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            self._sync_folder()
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise OutboxError(f"SPOOL_DIR={self.folder} cannot be written to ({error.strerror}).") from error

    def waiting(self) -> list[Path]:
        """Return the files of unsent results, oldest first."""
        return sorted(self.folder.glob("*.json"))

    def half_written(self) -> list[Path]:
        """Return the files of runs that were killed while writing."""
        before = time.time() - STALE
        return [path for path in sorted(self.folder.glob("*.tmp")) if path.stat().st_mtime < before]

    def set_aside(self, path: Path, reason: str) -> str:
        """Rename a file so that no run reads it again, and return a sentence about it."""
        aside = path.with_name(f"{path.name}.{reason}")
        path.replace(aside)
        return f"{path.name} in SPOOL_DIR is {reason}: set aside as {aside.name}."

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Wait until no other run is sending. Polls, because flock restarts after a signal handler returns."""
        with (self.folder / ".lock").open("w") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(LOCK_INTERVAL)
            yield

    def _sync_folder(self) -> None:
        # The rename is durable only once the folder is.
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
